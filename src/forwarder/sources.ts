import { addressText, SIZE_V6 } from './address.js';
import type { Log } from './log.js';
import { resetOnClose } from './socket-options.js';
import { AF_INET, AF_INET6, close, getpeername, pinned } from './syscalls.js';

/**
 * Where a client comes from: an IPv4 address, or the first 64 bits of an IPv6 address, because a machine may use any address
 * that begins with them (RFC 4291, 2.5.1).
 */
export type Source = number | bigint;

/** Counts the open connections of each source. */
export interface Sources {
  /** The most connections that one source may have. */
  readonly most: number;
  readonly open: Map<Source, number>;
  /** The sources whose counts have changed, for someone who takes them out; undefined if nobody does. */
  readonly changed: Set<Source> | undefined;
}

/** Creates counts for sources that may have `most` connections each. */
export function createSources(most: number, { tellsChanges }: { tellsChanges: boolean }): Sources {
  return { most, open: new Map(), changed: tellsChanges ? new Set() : undefined };
}

const room = pinned(SIZE_V6);
const roomSize = pinned(4);

/** The source of a connected client; undefined if it is gone, or its socket is a unix one. */
export function sourceOf(client: number): Source | undefined {
  roomSize.words[0] = SIZE_V6;
  if (getpeername(client, room.address, roomSize.address) < 0) return undefined;
  return sourceIn(room.words);
}

/** The source in the words of a sockaddr; undefined if it is of another family. */
export function sourceIn(words: Int32Array): Source | undefined {
  const [familyAndPort = 0, ipv4, first = 0, second = 0, third, fourth] = words;
  const family = familyAndPort & 0xffff;
  if (family === AF_INET) return ipv4;
  if (family !== AF_INET6) return undefined;
  // A listener on [::] sees an IPv4 client as ::ffff:a.b.c.d.
  if (first === 0 && second === 0 && third === MAPPED) return fourth;
  return (BigInt(second >>> 0) << 32n) | BigInt(first >>> 0);
}

/** 00 00 ff ff in the order of bytes of the processors that there are builds for. */
const MAPPED = 0xffff0000 | 0;

/** Counts a connection of a source. */
export function countOpened(sources: Sources, source: Source): void {
  changeCount(sources, source, 1);
}

/** Counts one less, and forgets a source that has none. */
export function countClosed(sources: Sources, source: Source): void {
  changeCount(sources, source, -1);
}

/** Adds `by` to the count of a source, and forgets one that has none. */
export function changeCount({ open, changed }: Sources, source: Source, by: number): void {
  const left = (open.get(source) ?? 0) + by;
  if (left > 0) open.set(source, left);
  else open.delete(source);
  changed?.add(source);
}

/** Resets a client, and logs it, if its source has as many connections as it may have. Returns whether it has. */
export function refuseIfMany({ open, most }: Sources, client: number, log: Log): boolean {
  const source = sourceOf(client);
  if (source === undefined || (open.get(source) ?? 0) < most) return false;
  log.failure(
    'refused source',
    `refused ${addressText(room.bytes)}: ${most} connections of its address are open, as many as --max-per-source allows`,
    (count) =>
      `refused ${count} more clients in the last 10 s whose addresses have as many connections as --max-per-source allows`,
  );
  resetOnClose(client);
  close(client);
  return true;
}

/** The number of sessions of a source, as one forwarder tells it to another. */
export function formatCount(source: Source, count: number): string {
  return `${source}${typeof source === 'bigint' ? 'n' : ''} ${count}`;
}

/** Reads it. Returns undefined if it cannot be what a forwarder has said. */
export function parseCount(text: string): [Source, number] | undefined {
  const [, number = '', isBig, count] = /^(-?\d{1,20})(n?) (\d{1,7})$/.exec(text) ?? [];
  if (count === undefined) return undefined;
  return [isBig === 'n' ? BigInt(number) : Number(number), Number(count)];
}
