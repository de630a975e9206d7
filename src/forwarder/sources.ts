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
}

/** Creates counts for sources that may have `most` connections each. */
export function createSources(most: number): Sources {
  return { most, open: new Map() };
}

const room = pinned(SIZE_V6);
const roomSize = pinned(4);

/** The source of a connected client; undefined if it is gone, or its socket is a unix one. */
export function sourceOf(client: number): Source | undefined {
  roomSize.words[0] = SIZE_V6;
  if (getpeername(client, room.address, roomSize.address) < 0) return undefined;
  const { bytes, words } = room;
  const family = bytes.readUInt16LE(0);
  if (family === AF_INET) return words[1] as number;
  if (family !== AF_INET6) return undefined;
  // A listener on [::] sees an IPv4 client as ::ffff:a.b.c.d.
  const isMapped = words[2] === 0 && words[3] === 0 && bytes.readUInt32BE(16) === 0xffff;
  return isMapped ? (words[5] as number) : bytes.readBigUInt64LE(8);
}

/** Counts a connection of a source. */
export function countOpened({ open }: Sources, source: Source): void {
  open.set(source, (open.get(source) ?? 0) + 1);
}

/** Counts one less, and forgets a source that has none. */
export function countClosed({ open }: Sources, source: Source): void {
  const left = (open.get(source) ?? 0) - 1;
  if (left > 0) open.set(source, left);
  else open.delete(source);
}

/** Resets a client, and logs it, if its source has as many connections as it may have. Returns whether it has. */
export function refuseIfMany({ open, most }: Sources, client: number, log: Log): boolean {
  const source = sourceOf(client);
  if (source === undefined || (open.get(source) ?? 0) < most) return false;
  log.failure(
    'source',
    `refused ${addressText(room.bytes)}: ${most} connections of its address are open, as many as --max-per-source allows`,
    (count) =>
      `refused ${count} more clients in the last 10 s whose addresses have as many connections as --max-per-source allows`,
  );
  resetOnClose(client);
  close(client);
  return true;
}
