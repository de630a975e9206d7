import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createJournal, formatEntry, oneLine } from '../../src/forwarder/journal.ts';
import { createLog } from '../../src/forwarder/log.ts';
import { fireDue, type Timers } from '../../src/forwarder/timers.ts';
import { formatEntry as formatServiceEntry } from '../../src/systemd/journal-entry.ts';
import { datagramSocket, FILLING } from './datagram-socket.ts';

/** What a client could put into a text that is logged. */
const HOSTILE = 'x\nWORMHOLE_LINK=evil\r\nPRIORITY=0\u2028WORMHOLE_EVENT=evil\u0000\u0085_UID=0\u001b[2J';

function fieldsOf(entry: Buffer): string[] {
  const text = entry.toString();
  assert.ok(text.endsWith('\n'));
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => line.split('=', 1)[0] as string);
}

test('no text of the forwarder begins a field or a line of its own', () => {
  const entry = formatEntry(`wormhole-${HOSTILE}`, { priority: 4, event: 'refused', message: HOSTILE });
  assert.equal(fieldsOf(entry), ['MESSAGE', 'PRIORITY', 'SYSLOG_IDENTIFIER', 'WORMHOLE_EVENT']);
  assert.not.match(oneLine(HOSTILE), /[\p{Cc}\u2028\u2029]/u);
});

test('no text of a service does', () => {
  const about = { event: 'failed', link: HOSTILE, peer: HOSTILE } as const;
  const entry = formatServiceEntry({ message: HOSTILE, identifier: 'wormholed', priority: 3, about });
  assert.equal(fieldsOf(entry), [
    'MESSAGE',
    'PRIORITY',
    'SYSLOG_IDENTIFIER',
    'WORMHOLE_EVENT',
    'WORMHOLE_LINK',
    'WORMHOLE_PEER',
  ]);
});

test('an entry has the fields that are known alone', () => {
  const entry = formatServiceEntry({
    message: 'the key is missing',
    identifier: 'wormholed',
    priority: 4,
    about: { event: 'failed' },
  });
  assert.is(
    entry.toString(),
    'MESSAGE=the key is missing\nPRIORITY=4\nSYSLOG_IDENTIFIER=wormholed\nWORMHOLE_EVENT=failed\n',
  );
});

test('a journal that takes nothing delays no one, and gets everything later, in order, with what was lost', () => {
  const journal = datagramSocket();
  try {
    journal.fill();
    const timers: Timers = [];
    const log = createLog('test', timers, createJournal('wormhole-test', journal.path));
    for (let n = 0; n < 103; n++) log.info('resumed', `line ${n}`);
    assert.equal(new Set(journal.heard()), new Set([FILLING]));
    fireDue(timers, performance.now() + 1000);
    const heard = (): string[] => journal.heard().filter((entry) => entry !== FILLING);
    // The queue of a socket that nobody reads holds a few datagrams (net.unix.max_dgram_qlen), so it takes more than one round.
    for (let round = 2; heard().length < 101 && round < 200; round++)
      fireDue(timers, performance.now() + 1000 * round);
    assert.equal(
      heard().map((entry) => /^MESSAGE=link test: (.*)$/m.exec(entry)?.[1]),
      [
        ...Array.from({ length: 100 }, (_, n) => `line ${n}`),
        '3 lines were lost while the journal took none',
      ],
    );
    assert.match(
      heard().at(-1) ?? '',
      /^PRIORITY=4\nSYSLOG_IDENTIFIER=wormhole-test\nWORMHOLE_EVENT=failed$/m,
    );
    assert.equal(timers, []);
  } finally {
    journal.close();
  }
});

test('failures of one kind are counted, and their lines have its first word as their event', () => {
  const journal = datagramSocket();
  try {
    const timers: Timers = [];
    const log = createLog('test', timers, createJournal('wormhole-test', journal.path));
    for (let n = 0; n < 3; n++)
      log.failure('refused source', `refused ${n}`, (count) => `refused ${count} more`);
    log.failure('refused', 'refused by address', () => 'never');
    log.flush();
    assert.equal(
      journal.heard().map((entry) => entry.replaceAll('\n', ' ')),
      [
        'MESSAGE=link test: refused 0 PRIORITY=4 SYSLOG_IDENTIFIER=wormhole-test WORMHOLE_EVENT=refused ',
        'MESSAGE=link test: refused by address PRIORITY=4 SYSLOG_IDENTIFIER=wormhole-test WORMHOLE_EVENT=refused ',
        'MESSAGE=link test: refused 2 more PRIORITY=4 SYSLOG_IDENTIFIER=wormhole-test WORMHOLE_EVENT=refused ',
      ],
    );
  } finally {
    journal.close();
  }
});

test('an entry that cannot be sent has to go another way', () => {
  const journal = datagramSocket();
  const entry = { priority: 6, event: 'stopped', message: 'x' } as const;
  const send = createJournal('wormhole-test', journal.path);
  assert.is(send(entry), 'sent');
  assert.is(send({ ...entry, message: 'x'.repeat(1 << 20) }), 'unavailable', 'EMSGSIZE');
  journal.close();
  assert.is(send(entry), 'unavailable', 'ENOENT');
});

test.run();
