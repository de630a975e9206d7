import type { Connection, End, Relay } from './connection.js';
import {
  getsockopt,
  IPPROTO_TCP,
  pinned,
  SO_KEEPALIVE,
  SOL_SOCKET,
  setsockopt,
  TCP_INFO,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_USER_TIMEOUT,
} from './syscalls.js';
import { createTimer, start } from './timers.js';

/** Offsets of fields in struct tcp_info (linux/tcp.h), bytes. tcpi_snd_wnd exists since Linux 5.4. */
const RETRANSMITS = 2;
const PROBES = 3;
const UNACKED = 24;
const BYTES_RECEIVED = 128;
const NOTSENT_BYTES = 144;
const SND_WND = 228;
const INFO_BYTES = 232;

/** The most connections checked in one slice of the walk over all, and the delay until the next slice, ms. */
const CHECKS_A_SLICE = 64;
const SLICE_PAUSE_MS = 1;

/** Consecutive unanswered probes of a zero window after which the peer counts as gone. Two may get lost. */
const UNANSWERED_PROBES = 3;

const info = pinned(INFO_BYTES);
const infoSize = pinned(4);
const value = pinned(4);

/**
 * Makes the kernel give up the connection of `fd` when its peer has been silent for `ms`: by TCP_USER_TIMEOUT
 * while bytes are unacknowledged, and otherwise by keepalive probes after a third of the time and then every
 * sixth (tcp(7)). On a listening socket, it applies to clients that connect later.
 */
export function setPeerTimeout(fd: number, ms: number): void {
  const seconds = ms / 1000;
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, Math.max(1, Math.round(seconds / 3)));
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, Math.max(1, Math.round(seconds / 6)));
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ms);
}

/**
 * Exempts peers that have paused reading. TCP_USER_TIMEOUT also ends a connection whose peer has advertised a
 * zero window for that long, although it answers every probe (tcp_probe_timer() in the kernel): a client that
 * stops reading for a while would lose its session. So the timeout is removed from such a socket while its
 * probes are answered. All connections are checked four times in the shorter of the two timeouts, a few at a
 * time, so that thousands of them do not delay other events. Does nothing if there is no timeout.
 */
export function exemptZeroWindows(relay: Relay): void {
  const { loop, connections, clientTimeout, targetTimeout } = relay;
  const every =
    Math.min(clientTimeout ?? Number.POSITIVE_INFINITY, targetTimeout ?? Number.POSITIVE_INFINITY) / 4;
  if (every === Number.POSITIVE_INFINITY) return;
  const exempt = new WeakSet<End>();
  const check = (end: End, limit: number | undefined): void => {
    if (limit === undefined || end.fd < 0 || end.reset) return;
    const pauses = hasZeroWindow(end.fd);
    if (pauses === exempt.has(end)) return;
    set(end.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, pauses ? 0 : limit);
    if (pauses) exempt.add(end);
    else exempt.delete(end);
  };
  // The iterator of a Set visits entries added during the walk, so the walk also ends after as many as there
  // were.
  let walk: Iterator<Connection> | undefined;
  let left = 0;
  const turn = createTimer(() => {
    if (walk === undefined) {
      walk = connections?.values();
      left = connections?.size ?? 0;
    }
    for (let looks = 0; looks < CHECKS_A_SLICE; looks++, left--) {
      const next = left > 0 ? walk?.next() : undefined;
      if (next === undefined || next.done) {
        walk = undefined;
        start(loop.timers, turn, loop.now + every);
        return;
      }
      const { client, target, connected } = next.value;
      check(client, clientTimeout);
      if (connected) check(target, targetTimeout);
    }
    start(loop.timers, turn, loop.now + SLICE_PAUSE_MS);
  });
  start(loop.timers, turn, loop.now + every);
}

/**
 * Removes the timeouts from both sockets before they are closed. A peer that pauses reading then would lose
 * the rest of what was sent, and nothing checks the socket any more. The kernel has its own limit for those
 * (tcp_orphan_retries, tcp(7)).
 */
export function clearUserTimeouts({ relay, client, target }: Connection): void {
  if (relay.clientTimeout !== undefined) set(client.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
  if (relay.targetTimeout !== undefined) set(target.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
}

/** The bytes received from the peer of `fd`, whether read or not, including its FIN; 0 if unknown. */
export function bytesReceived(fd: number): number {
  return look(fd) ? Number(info.bytes.readBigUInt64LE(BYTES_RECEIVED)) : 0;
}

/** Whether bytes wait for a peer that advertises a zero window and answers probes. */
function hasZeroWindow(fd: number): boolean {
  if (!look(fd) || info.bytes.readUInt32LE(NOTSENT_BYTES) + info.bytes.readUInt32LE(UNACKED) === 0)
    return false;
  const isShut = info.bytes.readUInt32LE(UNACKED) === 0 || info.bytes.readUInt32LE(SND_WND) === 0;
  return isShut && info.bytes.readUInt8(PROBES) + info.bytes.readUInt8(RETRANSMITS) < UNANSWERED_PROBES;
}

function look(fd: number): boolean {
  infoSize.words[0] = INFO_BYTES;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.address, infoSize.address) === 0;
}

function set(fd: number, level: number, name: number, number: number): void {
  value.words[0] = number;
  setsockopt(fd, level, name, value.address, 4);
}
