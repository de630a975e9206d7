import { BATCH } from './relay.js';

/*
 * Datagrams of one sender, one behind the other and of the same size, leave as one message, which the kernel takes apart at the end
 * of the way or on the device (UDP_SEGMENT, udp(7)). The way through the kernel is what a datagram costs most.
 */

/** The most datagrams that the kernel takes in one message (UDP_MAX_SEGMENTS before Linux 6.9), and about their most bytes. */
const MOST_DATAGRAMS = 64;
const MOST_BYTES = 65_000;

/** The messages of a batch, each of which has one vector or several. */
export interface Runs {
  count: number;
  /** For each, its first vector and how many it has. */
  readonly vectors: Int32Array;
  readonly counts: Int32Array;
  /** For each, the bytes of its datagrams but the last one, which may be smaller; 0 if it has one. */
  readonly segments: Int32Array;
  /** Bytes of the last run. */
  bytes: number;
  /** The most bytes that another datagram of the last run may have; 0 if it can have none. */
  room: number;
}

/** No messages. */
export function createRuns(): Runs {
  return {
    count: 0,
    vectors: new Int32Array(BATCH),
    counts: new Int32Array(BATCH),
    segments: new Int32Array(BATCH),
    bytes: 0,
    room: 0,
  };
}

/**
 * Adds a vector of `size` bytes, which follows the last one. If the kernel has joined several datagrams in it, `segment` is the size of
 * each, else 0. Only if `mayJoin` can it become part of the last run. Returns whether it has begun another one.
 */
export function addToRuns(
  runs: Runs,
  vector: number,
  { size, segment, mayJoin }: { size: number; segment: number; mayJoin: boolean },
): boolean {
  const last = runs.count - 1;
  const isNext =
    mayJoin &&
    segment === 0 &&
    size > 0 &&
    size <= runs.room &&
    (runs.counts[last] as number) < MOST_DATAGRAMS &&
    runs.bytes + size <= MOST_BYTES;
  if (!isNext) {
    runs.vectors[runs.count] = vector;
    runs.counts[runs.count] = 1;
    runs.segments[runs.count] = segment;
    runs.count += 1;
    runs.bytes = size;
    runs.room = segment === 0 ? size : 0;
    return true;
  }
  runs.segments[last] = (runs.segments[last] as number) || runs.room;
  runs.counts[last] = (runs.counts[last] as number) + 1;
  runs.bytes += size;
  if (size < runs.room) runs.room = 0;
  return false;
}

/** Forgets all messages. */
export function clearRuns(runs: Runs): void {
  runs.count = 0;
  runs.room = 0;
}
