import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseNotes } from '../../src/links/sessions.ts';

/* The notes of a forwarder about its sessions, as `wormhole show` reads them; that they are right, test/lab/show.test.ts shows. */

const test = suite('notes about sessions');

const [HEADER, RECORD] = [4 * 64, 4 * 32];

function notes(opened: number[]): Buffer {
  const file = Buffer.alloc(HEADER + RECORD * (opened.length + 1));
  file.writeInt32LE(0x54534857, 0);
  file.writeInt32LE(1, 4);
  for (const [at, moment] of opened.entries()) {
    const record = HEADER + RECORD * at;
    for (const word of [0, 1]) file.writeInt32LE(1, record + 4 * word);
    file.writeDoubleLE(moment, record + 16);
    file.writeInt32LE(8, record + 80);
    file.writeInt32LE(9, record + 84);
  }
  return file;
}

test('one that was opened at no moment is none', () => {
  const opened = [5, Number.NaN, 7, Number.POSITIVE_INFINITY];
  assert.equal(parseNotes(notes(opened)), [
    { opened: 5, client: 7, target: 8 },
    { opened: 7, client: 7, target: 8 },
  ]);
});

test('what is no file of notes has none', () => {
  assert.equal(parseNotes(Buffer.alloc(0)), []);
  assert.equal(parseNotes(Buffer.alloc(1000, 0xff)), []);
});

test.run();
