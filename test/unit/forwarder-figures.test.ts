import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createAccessRule, isAllowedAt } from '../../src/forwarder/access.ts';
import { parseAddress } from '../../src/forwarder/address.ts';
import type { Relay } from '../../src/forwarder/connection.ts';
import { type Counters, createCounters } from '../../src/forwarder/counters.ts';
import { exitWhenIdle } from '../../src/forwarder/idle.ts';
import type { Log } from '../../src/forwarder/log.ts';
import type { Loop } from '../../src/forwarder/loop.ts';
import { reportStatus } from '../../src/forwarder/status.ts';
import { copyFrom } from '../../src/forwarder/syscalls.ts';
import { fireDue, type Timers } from '../../src/forwarder/timers.ts';

/* What a forwarder counts and tells of itself, when it has been idle for long enough, and whom it admits. */

const directory = mkdtempSync(join(tmpdir(), 'wormhole-figures-'));
test.after(() => rmSync(directory, { recursive: true }));

function createTestLog(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const push = (event: string, line: string) => lines.push(`${event}: ${line}`);
  const log = { info: push, error: push };
  return { log: log as unknown as Log, lines };
}

/** The figures in a file, by name, and the text. */
function read(file: string): { figures: Record<string, number>; failure: string } {
  const bytes = readFileSync(file);
  assert.is(bytes.length, 4096);
  const [, names = '', texts] = bytes.toString('latin1', 0, 1024).split('\n');
  assert.is(texts, 'failure');
  const figures = Object.fromEntries(
    names.split(' ').map((name, at) => [name, bytes.readDoubleLE(1024 + 8 * at)]),
  );
  return { figures, failure: bytes.subarray(3072, bytes.indexOf(0, 3072)).toString() };
}

function counting(
  name: string,
  text = Buffer.alloc(0),
): { file: string; counters: Counters; lines: string[] } {
  const file = join(directory, name);
  writeFileSync(file, text);
  const fd = openSync(file, 'r+');
  const { log, lines } = createTestLog();
  const counters = createCounters(fd, log);
  closeSync(fd);
  return { file, counters, lines };
}

test('each figure is in the file at once, under its name', () => {
  const { file, counters, lines } = counting('names');
  const before = read(file).figures;
  assert.ok(Object.keys(before).length > 20);
  assert.ok(Object.values(before).every((value) => value === 0));
  const names = Object.keys(before).filter((name) => !name.startsWith('dial<='));
  for (const [at, name] of names.entries()) counters[name as 'served'] = at + 1;
  const { figures } = read(file);
  for (const [at, name] of names.entries()) {
    assert.is(figures[name], at + 1, name);
    assert.is(counters[name as 'served'], at + 1, name);
  }
  assert.equal(lines, []);
});

test('a successful attempt to connect is in the bucket of its time', () => {
  const { file, counters } = counting('dials');
  for (const ms of [0, 1, 1.1, 5000, 5001, 250, 251]) counters.observeDial(ms);
  const { figures } = read(file);
  const dials = Object.entries(figures).filter(([name, count]) => name.startsWith('dial<=') && count > 0);
  assert.equal(dials, [
    ['dial<=1', 2],
    ['dial<=5', 1],
    ['dial<=250', 1],
    ['dial<=500', 1],
    ['dial<=5000', 1],
    ['dial<=Infinity', 1],
  ]);
  assert.is(figures.dialMs, 0 + 1 + 1.1 + 5000 + 5001 + 250 + 251);
});

test('a failure is told with its time, and cut to its room', () => {
  const { file, counters } = counting('failures');
  const before = Date.now();
  counters.fail('first');
  const first = read(file);
  assert.is(first.failure, 'first');
  counters.failedAt = 1;
  counters.failingSince = 2;
  counters.fail('x'.repeat(600));
  const second = read(file);
  assert.is(second.failure, 'x'.repeat(511));
  assert.equal([second.figures.unserved, second.figures.failing, second.figures.failingSince], [2, 2, 2]);
  assert.ok((second.figures.failedAt ?? 0) >= before);
  assert.ok((first.figures.failingSince ?? 0) >= before);
  counters.failing = 0;
  counters.fail('');
  assert.equal([read(file).failure, read(file).figures.failing], ['', 1]);
  assert.ok((read(file).figures.failingSince ?? 0) >= before);
});

test('figures of before go on; the sessions of before are gone', () => {
  const { file, counters } = counting('again');
  counters.served = 5;
  counters.open = 3;
  const next = counting('again', readFileSync(file));
  assert.equal([next.counters.served, next.counters.open], [5, 0]);
  assert.equal(next.lines, []);
});

test('of another version, what has the same name is kept; what is not of this kind at all is not', () => {
  const old = Buffer.alloc(4096);
  old.write('wormhole counters 1\ngone served\nold\n');
  old.writeDoubleLE(7, 1024);
  old.writeDoubleLE(41, 1032);
  assert.is(counting('version', old).counters.served, 41);
  assert.is(read(join(directory, 'version')).figures.bytesFromTarget, 0);
  assert.is(counting('short', old.subarray(0, 4095)).counters.served, 0);
  const other = Buffer.from(old);
  other.write('wormhole counters 2');
  assert.is(counting('other', other).counters.served, 0);
});

test('without a file that can be used, a forwarder counts for itself', () => {
  const { log, lines } = createTestLog();
  assert.is(createCounters(undefined, log).served, 0);
  assert.equal(lines, []);
  const fd = openSync(directory, 'r');
  const counters = createCounters(fd, log);
  counters.served += 1;
  assert.is(counters.served, 1);
  assert.equal(lines, [
    `failed: the file of its counters cannot be used: descriptor ${fd} is not a file; it counts from zero`,
  ]);
  closeSync(fd);
  const file = join(directory, 'names');
  const readOnly = openSync(file, 'r');
  createCounters(readOnly, log);
  assert.match(lines[1] ?? '', /cannot be used: EACCES/);
  closeSync(readOnly);
});

/** A loop whose clock the test turns. */
function createTestLoop() {
  const timers: Timers = [];
  const loop = { now: 0, timers } as unknown as Loop;
  const turn = (to: number) => {
    loop.now = to;
    fireDue(timers, to);
  };
  return { loop, timers, turn };
}

test('the line of status is told when it changes, once a second', () => {
  const { loop, timers, turn } = createTestLoop();
  const told: string[] = [];
  const figures = { open: 0, served: 0, bytesFromClients: 0, bytesFromTarget: 0, failing: 0 };
  const relay = { loop, open: 0, counters: figures, connections: undefined } as unknown as Relay;
  const { touch } = reportStatus(relay, (line) => {
    told.push(line);
    return true as never;
  });
  assert.is(timers.length, 0);
  touch();
  turn(0);
  assert.equal(told.splice(0), ['STATUS=0 open, 0 served, 0 B']);
  touch();
  turn(999);
  Object.assign(figures, { served: 1, bytesFromClients: 300, bytesFromTarget: 699 });
  touch();
  turn(1000);
  assert.equal(told.splice(0), ['STATUS=0 open, 1 served, 999 B']);
  turn(2000);
  assert.equal(told.splice(0), []);
  assert.is(timers.length, 0, 'nothing is open: nothing is computed');
  // While a session is open, it goes on by itself.
  relay.open = 1;
  figures.open = 1;
  touch();
  turn(3000);
  assert.equal(told.splice(0), ['STATUS=1 open, 1 served, 999 B']);
  turn(4000);
  assert.equal(told.splice(0), []);
  figures.failing = 1;
  turn(5000);
  assert.equal(told.splice(0), ['STATUS=1 open, 1 served, 999 B; failing, 1 client closed']);
  figures.failing = 2;
  turn(6000);
  assert.equal(told.splice(0), ['STATUS=1 open, 1 served, 999 B; failing, 2 clients closed']);
  figures.failing = 0;
  for (const [bytes, text] of [
    [999.4, '999 B'],
    [1000, '1.0 kB'],
    [99_449, '99.4 kB'],
    [99_500, '100 kB'],
    [999_499, '999 kB'],
    [999_500, '1.0 MB'],
    [1.25e9, '1.3 GB'],
    [2e12, '2.0 TB'],
    [3e15, '3.0 PB'],
    [5e18, '5000 PB'],
  ] as const) {
    Object.assign(figures, { bytesFromClients: bytes, bytesFromTarget: 0 });
    turn(loop.now + 1000);
    assert.equal(told.splice(0), [`STATUS=1 open, 1 served, ${text}`]);
  }
});

test('a forwarder exits when nothing has been open for so long', () => {
  const { loop, turn } = createTestLoop();
  let [open, exits, accepts] = [0, 0, 0];
  let arrives = 0;
  let quiet = 0;
  const closed = exitWhenIdle(loop, {
    after: 100,
    open: () => open,
    acceptPending: () => {
      accepts++;
      open += arrives;
      arrives = 0;
    },
    exit: () => exits++,
    onQuiet: () => quiet++,
  });
  turn(99);
  assert.equal([exits, accepts, quiet], [0, 0, 1]);
  open = 1;
  turn(100);
  turn(500);
  assert.equal([exits, accepts], [0, 0]);
  open = 0;
  closed();
  assert.is(quiet, 2);
  turn(599);
  // Another session has come and gone: the time begins again.
  closed();
  turn(600);
  assert.equal([exits, accepts], [0, 0]);
  turn(698);
  assert.is(exits, 0);
  // A client that arrives at the last moment is served.
  arrives = 1;
  turn(699);
  assert.equal([exits, accepts], [0, 1]);
  open = 0;
  closed();
  turn(799);
  assert.equal([exits, accepts], [1, 2]);
});

test('of all clients, those of one machine are admitted, however their address is written', () => {
  const isAllowed = (rule: string, client: string) => {
    const { sockaddr, size } = parseAddress(client);
    const words = new Int32Array(16);
    const bytes = copyFrom(sockaddr, size);
    new Uint8Array(words.buffer).set(bytes, 8);
    return isAllowedAt(createAccessRule(rule), words, 2);
  };
  for (const [rule, client, allowed] of [
    ['10.0.0.1', '10.0.0.1:5', true],
    ['10.0.0.1', '[::ffff:10.0.0.1]:5', true],
    ['::ffff:10.0.0.1', '10.0.0.1:5', true],
    ['10.0.0.1', '10.0.0.2:5', false],
    ['10.0.0.1', '[::ffff:10.0.0.2]:5', false],
    ['10.0.0.1', '[::10.0.0.1]:5', false],
    ['::10.0.0.1', '10.0.0.1:5', false],
    ['fd00::1', '[fd00::1]:5', true],
    ['fd00::1', '[fd00::2]:5', false],
    ['fd00::1', '[fd01::1]:5', false],
    ['fd00::1', '[fd00:0:1::1]:5', false],
    ['fd00::1', '[fd00::1:0:0:1]:5', false],
  ] as const)
    assert.is(isAllowed(rule, client), allowed, `${rule} ${client}`);
  for (const address of ['', 'x', '10.0.0.1:1', '10.0.0.0/8', 'fe80::1%lo', ':::'])
    assert.throws(
      () => createAccessRule(address),
      ({ message }: Error) =>
        message === `--allow "${address}" is not an IP address like 10.90.0.1 or 2001:db8::1`,
      address,
    );
});

test.run();
