import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { End, Flow, Relay } from '../../src/forwarder/connection.ts';
import { chunkSize, classify, enqueue, runBulkQueue } from '../../src/forwarder/scheduler.ts';
import { addToRuns, clearRuns, createRuns } from '../../src/forwarder/udp/runs.ts';

/* Which streams give way to small messages, and which datagrams leave as one. */

const MiB = 1 << 20;

/** What the scheduler knows of a link. */
function relay(now = 1000): Relay {
  return { loop: { now }, interactiveUntil: 0, bulkQueue: [] } as unknown as Relay;
}

function flowOf(one: Relay): Flow {
  return { from: { connection: { relay: one } }, isBulk: false, smallReads: 0 } as unknown as Flow;
}

function endOf(one: Relay, fd = 3): End {
  return { fd, queuedEvents: 0, connection: { relay: one } } as unknown as End;
}

test('chunks are small for 200 ms after a small message', () => {
  const one = relay();
  assert.is(chunkSize(one), MiB);
  classify(flowOf(one), 100);
  assert.is(chunkSize(one), MiB / 8);
  one.loop.now += 199;
  assert.is(chunkSize(one), MiB / 8);
  one.loop.now += 1;
  assert.is(chunkSize(one), MiB);
});

test('a read of 64 KiB makes a stream, whose few small reads are no messages', () => {
  const one = relay();
  const flow = flowOf(one);
  classify(flow, 65_535);
  assert.not(flow.isBulk);
  one.interactiveUntil = 0;
  classify(flow, 65_536);
  assert.ok(flow.isBulk);
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 15; n++) classify(flow, 1);
    assert.ok(flow.isBulk);
    classify(flow, 65_536);
  }
  assert.is(chunkSize(one), MiB);
  for (let n = 0; n < 16; n++) classify(flow, 1);
  assert.not(flow.isBulk);
  classify(flow, 1);
  assert.is(chunkSize(one), MiB / 8);
});

test('a socket is in the queue once, with all of its events, and the next is the one that has waited longest', () => {
  const one = relay();
  const [first, second] = [endOf(one, 3), endOf(one, 4)];
  enqueue(first, 1);
  enqueue(second, 1);
  enqueue(first, 4);
  const moved: [End, number][] = [];
  const move = (end: End, events: number) => moved.push([end, events]);
  assert.ok(runBulkQueue(one, move));
  assert.equal(moved, [[first, 5]]);
  assert.is(first.queuedEvents, 0);
  assert.not(runBulkQueue(one, move));
  assert.equal(moved, [
    [first, 5],
    [second, 1],
  ]);
  assert.not(runBulkQueue(one, move));
  assert.is(moved.length, 2);
});

test('what is queued while the queue is served waits for the next round', () => {
  const one = relay();
  const end = endOf(one);
  enqueue(end, 1);
  assert.ok(runBulkQueue(one, () => enqueue(end, 2)));
  assert.is(end.queuedEvents, 2);
});

test('of a long queue an eighth is served, or a single one while there are small messages; closed ones are passed over', () => {
  const one = relay();
  const ends = Array.from({ length: 17 }, (_, n) => endOf(one, n === 1 ? -1 : n));
  for (const end of ends) enqueue(end, 1);
  const moved: number[] = [];
  runBulkQueue(one, ({ fd }) => moved.push(fd));
  assert.equal(moved, [0, 2]);
  one.interactiveUntil = one.loop.now + 1;
  runBulkQueue(one, ({ fd }) => moved.push(fd));
  assert.equal(moved, [0, 2, 3]);
  one.loop.now += 1;
  runBulkQueue(one, ({ fd }) => moved.push(fd));
  assert.equal(moved, [0, 2, 3, 4, 5]);
});

/** Adds vectors of these sizes, and returns the messages: first vector, number of vectors, size of a segment. */
function runsOf(vectors: { size: number; segment?: number; mayJoin?: boolean }[]): number[][] {
  const runs = createRuns();
  for (const [at, { size, segment = 0, mayJoin = true }] of vectors.entries()) {
    const before = runs.count;
    const isNew = addToRuns(runs, at, { size, segment, mayJoin });
    assert.is(runs.count, before + (isNew ? 1 : 0));
  }
  return Array.from({ length: runs.count }, (_, n) => [
    runs.vectors[n] as number,
    runs.counts[n] as number,
    runs.segments[n] as number,
  ]);
}

test('datagrams of one size leave together, and the last may be smaller', () => {
  assert.equal(runsOf([{ size: 10 }]), [[0, 1, 0]]);
  assert.equal(runsOf([{ size: 10 }, { size: 10 }, { size: 10 }]), [[0, 3, 10]]);
  assert.equal(runsOf([{ size: 10 }, { size: 10 }, { size: 4 }, { size: 4 }, { size: 4 }]), [
    [0, 3, 10],
    [3, 2, 4],
  ]);
  assert.equal(runsOf([{ size: 10 }, { size: 11 }]), [
    [0, 1, 0],
    [1, 1, 0],
  ]);
});

test('an empty datagram, one that must not join and one that the kernel has joined stand alone', () => {
  assert.equal(runsOf([{ size: 10 }, { size: 0 }, { size: 0 }]), [
    [0, 1, 0],
    [1, 1, 0],
    [2, 1, 0],
  ]);
  assert.equal(runsOf([{ size: 10 }, { size: 10, mayJoin: false }]), [
    [0, 1, 0],
    [1, 1, 0],
  ]);
  assert.equal(runsOf([{ size: 10 }, { size: 10, segment: 5 }]), [
    [0, 1, 0],
    [1, 1, 5],
  ]);
  assert.equal(runsOf([{ size: 30, segment: 10 }, { size: 10 }, { size: 30, segment: 10 }]), [
    [0, 1, 10],
    [1, 1, 0],
    [2, 1, 10],
  ]);
});

test('a message has 64 datagrams and 65,000 bytes at most', () => {
  const many = (size: number, count: number) => Array.from({ length: count }, () => ({ size }));
  assert.equal(runsOf(many(10, 65)), [
    [0, 64, 10],
    [64, 1, 0],
  ]);
  assert.equal(runsOf(many(32_500, 3)), [
    [0, 2, 32_500],
    [2, 1, 0],
  ]);
  assert.equal(runsOf(many(32_501, 2)), [
    [0, 1, 0],
    [1, 1, 0],
  ]);
  assert.equal(runsOf([...many(1300, 50), { size: 1 }]), [
    [0, 50, 1300],
    [50, 1, 0],
  ]);
});

test('after the messages have been sent, nothing joins them', () => {
  const runs = createRuns();
  addToRuns(runs, 0, { size: 10, segment: 0, mayJoin: true });
  clearRuns(runs);
  assert.is(runs.count, 0);
  assert.ok(addToRuns(runs, 0, { size: 10, segment: 0, mayJoin: true }));
  assert.is(runs.count, 1);
});

test.run();
