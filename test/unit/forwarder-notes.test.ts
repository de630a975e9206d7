import { ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as memory from '../../src/forwarder/store/memory.ts';
import { AF_UNIX, close, pinned, recvmsg, SOCK_STREAM, socketpair } from '../../src/forwarder/syscalls.ts';
import {
  parseControl,
  type ReceivedControl,
  writeSegment,
  writeSource4,
  writeSource6,
} from '../../src/forwarder/udp/control.ts';

/* The notes that outlive a forwarder, as its successor reads them; and the control messages of datagrams. */

const CAPACITY = 3;

/** A memory, and the same as another process maps it. */
function shared() {
  const own = memory.createMemory(CAPACITY);
  if (own === undefined) throw new Error('no memory');
  return { own, next: memory.openMemory(own.fd) };
}

test('each session has a record, a serial number and a kind of its own', () => {
  const { own, next } = shared();
  const records = [1, 2, 3].map((kind) => memory.takeRecord(own, kind, performance.now()));
  assert.is(new Set(records).size, 3);
  for (const [at, record] of records.entries()) {
    assert.ok(record > 0);
    assert.ok(memory.isRecord(next, record));
    const notes = { memory: next, record };
    assert.equal([memory.kindOf(notes), memory.serialOf(notes), memory.flagsOf(notes)], [at + 1, at + 1, 0]);
  }
  assert.is(memory.takeRecord(own, 1, 0), 0, 'there is no room');
  const first = records[0] as number;
  for (const no of [0, -1, first - 1, first + 1, first - 32, first + 32 * CAPACITY, 1.5])
    assert.not(memory.isRecord(next, no), `${no}`);
});

test('a record that is used again is empty and has another number', () => {
  const { own } = shared();
  const record = memory.takeRecord(own, 1, 0);
  const notes = { memory: own, record };
  memory.noteFlags(notes, memory.ENDED);
  memory.noteFill(notes, memory.UP, 9, 5);
  memory.noteOwn(notes, 2, 6);
  const serial = memory.serialOf(notes);
  own.free.push(record);
  assert.is(memory.takeRecord(own, 4, 0), record);
  assert.is(memory.kindOf(notes), 4);
  assert.is(memory.flagsOf(notes), 0);
  assert.is(memory.ownOf(notes, 2), 0);
  assert.is(memory.flowNotes(notes, memory.UP).pipe, 0);
  assert.is.not(memory.serialOf(notes), serial);
  own.serial = -1;
  own.free.push(record);
  memory.takeRecord(own, 4, 0);
  assert.is.not(memory.serialOf(notes), 0, 'no serial number is 0');
});

test('flags are set and cleared one by one', () => {
  const { own, next } = shared();
  const record = memory.takeRecord(own, 1, 0);
  const notes = { memory: own, record };
  memory.noteFlags(notes, memory.CONNECTED);
  memory.noteFlags(notes, memory.UP_DONE | memory.UP_FIN);
  memory.clearFlags(notes, memory.UP_FIN | memory.ENDED);
  assert.is(memory.flagsOf({ memory: next, record }), memory.CONNECTED | memory.UP_DONE);
});

test('times are those of the machine, whatever the clock of the process', () => {
  const { own, next } = shared();
  const now = performance.now();
  const record = memory.takeRecord(own, 1, now - 1000);
  memory.noteDeadline({ memory: own, record }, now + 5000);
  const notes = { memory: next, record };
  assert.ok(Math.abs(memory.openedAt(notes) - (now - 1000)) < 0.01);
  assert.ok(Math.abs(memory.deadlineOf(notes) - (now + 5000)) < 0.01);
  const uptime = Number(process.hrtime.bigint()) / 1e6;
  const noted = new Float64Array(next.words.buffer, next.words.byteOffset)[(record + 4) >> 1] as number;
  assert.ok(Math.abs(noted - (uptime - 1000)) < 2000, `${noted} of ${uptime}`);
});

test('of each direction, the pipe and what was read are known', () => {
  const { own, next } = shared();
  const record = memory.takeRecord(own, 1, 0);
  const notes = { memory: own, record };
  const read = (part: memory.Part) => memory.flowNotes({ memory: next, record }, part);
  const nothing = { pipe: 0, isLost: false, read: 0, isCounted: false };
  assert.equal(read(memory.UP), nothing);
  // About to fill a pipe: nothing of that is counted, whether or not it has happened.
  memory.noteRead(notes, memory.UP, 100);
  memory.noteFill(notes, memory.UP, 7, 100);
  assert.equal(read(memory.UP), { pipe: 7, isLost: false, read: 100, isCounted: false });
  memory.noteRead(notes, memory.UP, 150);
  assert.equal(read(memory.UP), { pipe: 7, isLost: false, read: 150, isCounted: true });
  memory.noteRefill(notes, memory.UP, 150);
  assert.equal(read(memory.UP), { pipe: 7, isLost: false, read: 150, isCounted: false });
  memory.noteHeld(notes, memory.UP, 8, 2 ** 40);
  assert.equal(read(memory.UP), { pipe: 8, isLost: false, read: 2 ** 40, isCounted: true });
  memory.noteRelease(notes, memory.UP);
  assert.is(read(memory.UP).pipe, 0);
  memory.noteUnstored(notes, memory.UP);
  assert.equal([read(memory.UP).pipe, read(memory.UP).isLost], [0, true]);
  // The other direction has its own.
  assert.equal(read(memory.DOWN), nothing);
  memory.noteFill(notes, memory.DOWN, 3, 0);
  assert.is(read(memory.DOWN).pipe, 3);
  assert.is(read(memory.UP).isLost, true);
});

test('sessions of a kind have words of their own', () => {
  const { own, next } = shared();
  const record = memory.takeRecord(own, 1, 0);
  const other = memory.takeRecord(own, 1, 0);
  memory.noteDescriptors({ memory: own, record }, 5, -1);
  assert.equal(
    [0, 1].map((word) => memory.ownOf({ memory: next, record }, word)),
    [6, 0],
  );
  memory.noteOwn({ memory: own, record }, 3, 42);
  assert.is(memory.ownOf({ memory: next, record }, 3), 42);
  assert.is(memory.ownOf({ memory: next, record: other }, 3), 0);
});

test('an urgent byte that may have been moved twice is known, of one direction', () => {
  const { own, next } = shared();
  const record = memory.takeRecord(own, 1, 0);
  const isTwice = (part: memory.Part) => memory.isUrgentTwice({ memory: next, record }, part);
  assert.not(isTwice(memory.UP));
  assert.ok(memory.beginUrgent({ memory: own, record }, memory.UP) > 0);
  assert.ok(isTwice(memory.UP));
  assert.not(isTwice(memory.DOWN));
  memory.endUrgent({ memory: own, record });
  assert.not(isTwice(memory.UP));
});

test('once the kernel has handed an urgent byte over, it has not been moved twice', () => {
  const { own, next } = shared();
  const record = memory.takeRecord(own, 1, 0);
  const ends = pinned(8);
  assert.is(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.address), 0);
  const [from, to] = [ends.words[0] as number, ends.words[1] as number];
  writeSync(from, 'xy');
  const message = memory.beginUrgent({ memory: own, record }, memory.DOWN);
  assert.ok(memory.isUrgentTwice({ memory: next, record }, memory.DOWN));
  assert.is(recvmsg(to, message, 0), 1, 'one byte');
  assert.not(memory.isUrgentTwice({ memory: next, record }, memory.DOWN));
  close(from);
  close(to);
});

test('what another process has taken over, and how often such a process died early', () => {
  const { own, next } = shared();
  assert.equal([memory.isTakenOver(own), memory.earlyDeaths(own)], [false, 0]);
  memory.noteTakenOver(next);
  memory.noteEarlyDeaths(next, 2);
  assert.equal([memory.isTakenOver(own), memory.earlyDeaths(own)], [true, 2]);
});

test('what is no memory, or one of another version, is not read', () => {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-notes-'));
  const { own } = shared();
  let files = 0;
  const bytes = Buffer.from(own.words.buffer, own.words.byteOffset, own.words.byteLength);
  const changed = (change: (copy: Buffer) => void, size = bytes.length) => {
    const copy = Buffer.from(bytes);
    change(copy);
    const fd = openSync(join(directory, `${files++}`), 'w+');
    writeSync(fd, copy);
    ftruncateSync(fd, size);
    return fd;
  };
  memory.openMemory(changed(() => {}));
  const damaged = /^their notes are damaged$/;
  for (const [fd, reason] of [
    [changed(() => {}, 0), damaged],
    [changed(() => {}, 255), damaged],
    [changed(() => {}, bytes.length - 1), damaged],
    [changed(() => {}, bytes.length + 128), damaged],
    [changed((copy) => copy.writeInt32LE(0, 0)), damaged],
    [changed((copy) => copy.writeInt32LE(CAPACITY + 1, 8)), damaged],
    [changed((copy) => copy.writeInt32LE(2, 4)), /^their notes have version 2, not 1$/],
    [-1, damaged],
  ] as const)
    assert.throws(
      () => memory.openMemory(fd),
      ({ message }: Error) => reason.test(message),
    );
  rmSync(directory, { recursive: true });
});

const nothing: ReceivedControl = { segment: 0, localWord: -1, localWords: 0, device: 0, hops: 0, error: 0 };

/** What control messages of these words say, read from the middle of an array. */
function parse(words: number[], size = 4 * words.length): ReceivedControl {
  return parseControl(Int32Array.from([9, 9, ...words, 9, 9, 9, 9]), 2, size, {
    ...{ segment: 5, localWord: 5, localWords: 5, device: 5, hops: 5, error: 5 },
  });
}

const gro = [20, 0, 17, 104, 1200, 0];
const info4 = [28, 0, 0, 8, 3, 11, 12, 0];
const info6 = [36, 0, 41, 50, 1, 2, 3, 4, 7, 0];

test('control messages of a datagram, one after the other', () => {
  assert.equal(parse([]), nothing);
  assert.equal(parse(gro), { ...nothing, segment: 1200 });
  assert.equal(parse(info4), { ...nothing, localWord: 2 + 6, localWords: 1, device: 3 });
  assert.equal(parse(info6), { ...nothing, localWord: 2 + 4, localWords: 4, device: 7 });
  assert.equal(parse([...gro, ...info4]), {
    segment: 1200,
    localWord: 8 + 6,
    localWords: 1,
    device: 3,
    hops: 0,
    error: 0,
  });
  assert.equal(parse([...info6, ...gro]), {
    segment: 1200,
    localWord: 6,
    localWords: 4,
    device: 7,
    hops: 0,
    error: 0,
  });
  assert.equal(parse([20, 0, 0, 2, 63, 0]), { ...nothing, hops: 63 });
  assert.equal(parse([20, 0, 41, 52, 1, 0, ...gro]), { ...nothing, segment: 1200, hops: 1 });
  // struct sock_extended_err, and the address of the one who has sent the ICMP message.
  assert.equal(parse([48, 0, 0, 11, 90, 0x403_02, 1280, 0, 2, 1, 0, 0]), { ...nothing, error: 90 });
  assert.equal(parse([60, 0, 41, 25, 90, 0x203, 1280, 0, 10, 0, 0, 0, 0, 1, 0, 0, ...gro]), {
    ...nothing,
    segment: 1200,
    error: 90,
  });
  // Others are passed over.
  assert.equal(parse([20, 0, 17, 103, 7, 0, ...gro]), { ...nothing, segment: 1200 });
  for (const [level, type] of [
    [1, 104],
    [17, 8],
    [0, 50],
    [41, 8],
    [0, 104],
    [1, 8],
    [1, 50],
  ] as const)
    assert.equal(parse([28, 0, level, type, 1, 1, 1, 0]), nothing, `${level} ${type}`);
});

test('a message that is cut off, or says that it is shorter than its header, ends them', () => {
  assert.equal(parse(gro, 12), nothing);
  assert.equal(parse([15, 0, 17, 104, 1200, 0]), nothing);
  assert.equal(parse([0, 0, 0, 0]), nothing);
  assert.equal(parse([16, 0, 1, 1, ...gro]), { ...nothing, segment: 1200 });
});

test('what is written has the layout of cmsg(3), and its size with padding', () => {
  const written = (write: (words: Int32Array) => number) => {
    const words = new Int32Array(16).fill(-7);
    const size = write(words);
    return [size, ...words.subarray(1)];
  };
  const rest = (count: number) => Array(count).fill(-7);
  assert.equal(
    written((words) => writeSource4(words, 1, 11, 3)),
    [32, 28, 0, 0, 8, 3, 11, 0, ...rest(8)],
  );
  assert.equal(
    written((words) => writeSource6(words, 1, [1, 2, 3, 4], 7)),
    [40, 36, 0, 41, 50, 1, 2, 3, 4, 7, ...rest(6)],
  );
  assert.equal(
    written((words) => writeSegment(words, 1, 1200)),
    [24, 18, 0, 17, 103, 1200, ...rest(10)],
  );
});

test.run();
