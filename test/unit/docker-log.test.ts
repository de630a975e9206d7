import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { logLines } from '../../src/docker/container-log.ts';

function frame(stream: 1 | 2, text: string): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt8(stream, 0);
  header.writeUInt32BE(Buffer.byteLength(text), 4);
  return Buffer.concat([header, Buffer.from(text)]);
}

test('frames of stdout and stderr become lines', () => {
  const log = Buffer.concat([frame(1, 'one\n'), frame(2, 'two\r\n'), frame(1, 'thr'), frame(1, 'ee\n')]);
  assert.equal(logLines(log), ['one', 'two', 'three']);
});

test('the frame of a long line on stderr does not come through', () => {
  // Its length is a character that can be printed.
  const long = 'x'.repeat(64);
  assert.equal(logLines(Buffer.concat([frame(1, 'one\n'), frame(2, `${long}\n`), frame(2, `${long}\n`)])), [
    'one',
    long,
    long,
  ]);
  assert.equal(logLines(frame(2, `${long}\n`)), [long]);
});

test('a log of a terminal has no frames', () => {
  assert.equal(logLines(Buffer.from('one\r\ntwo\n')), ['one', 'two']);
});

test('control characters do not come through, and long lines are cut', () => {
  const log = frame(1, `\x1b[31mred\x1b[0m\tx\x07\n\n${'y'.repeat(600)}\n`);
  assert.equal(logLines(log), ['red x', 'y'.repeat(500)]);
});

test('a log that ends inside a frame is read as far as it goes', () => {
  assert.equal(logLines(frame(1, 'one\ntwo\n').subarray(0, 14)), ['one', 'tw']);
});

test('no log, no lines', () => assert.equal(logLines(Buffer.alloc(0)), []));

test.run();
