import type { Connection, End, Relay } from './connection.js';
import { setLimit } from './silence.js';
import { getsockopt, IPPROTO_TCP, pinned, TCP_INFO } from './syscalls.js';
import { start, timer } from './timers.js';

/** Where the fields lie in struct tcp_info (linux/tcp.h), bytes; tcpi_snd_wnd is in it since Linux 5.4. */
const RETRANSMITS = 2;
const PROBES = 3;
const UNACKED = 24;
const BYTES_RECEIVED = 128;
const NOTSENT_BYTES = 144;
const SND_WND = 228;
const INFO_BYTES = 232;

/** Connections looked at by one turn of the walk over all, and the time until its next turn, ms. */
const LOOKS_A_TURN = 64;
const TURN_MS = 1;

/** Looks into a shut window that go unanswered in a row before its owner is taken for gone: two may get lost. */
const TRIES_IN_VAIN = 3;

const info = pinned(INFO_BYTES);
const infoSize = pinned(4);

/**
 * Protects readers who pause. TCP_USER_TIMEOUT also ends a connection whose peer has shut its window for that long,
 * although it answers every probe (tcp_probe_timer() in the kernel): a client that stops reading for a while would lose
 * its session. So the limit is lifted from such a socket while its probes are answered. Looks four times in the
 * shorter of the two limits, at a few connections a time, so that thousands of them do not keep events waiting. Does
 * nothing when there is no limit.
 */
export function sparePausedReaders(relay: Relay): void {
  const { loop, connections, clientSilence, targetSilence } = relay;
  const every =
    Math.min(clientSilence ?? Number.POSITIVE_INFINITY, targetSilence ?? Number.POSITIVE_INFINITY) / 4;
  if (every === Number.POSITIVE_INFINITY) return;
  const spared = new WeakSet<End>();
  const check = (end: End, limit: number | undefined): void => {
    if (limit === undefined || end.fd < 0 || end.reset) return;
    const pauses = hasShutWindow(end.fd);
    if (pauses === spared.has(end)) return;
    setLimit(end.fd, pauses ? 0 : limit);
    if (pauses) spared.add(end);
    else spared.delete(end);
  };
  // The iterator of a Set meets entries added behind it, so the walk also ends after as many as there were.
  let walk: Iterator<Connection> | undefined;
  let left = 0;
  const turn = timer(() => {
    if (walk === undefined) {
      walk = connections?.values();
      left = connections?.size ?? 0;
    }
    for (let looks = 0; looks < LOOKS_A_TURN; looks++, left--) {
      const next = left > 0 ? walk?.next() : undefined;
      if (next === undefined || next.done) {
        walk = undefined;
        start(loop.timers, turn, loop.now + every);
        return;
      }
      const { client, target, connected } = next.value;
      check(client, clientSilence);
      if (connected) check(target, targetSilence);
    }
    start(loop.timers, turn, loop.now + TURN_MS);
  });
  start(loop.timers, turn, loop.now + every);
}

/** Bytes that have ever come from the peer of `fd`, whether they were read or not; 0 if nobody knows. */
export function bytesReceived(fd: number): number {
  return look(fd) ? Number(info.bytes.readBigUInt64LE(BYTES_RECEIVED)) : 0;
}

/** Whether bytes wait for a peer that takes none, and answers. */
function hasShutWindow(fd: number): boolean {
  if (!look(fd) || info.bytes.readUInt32LE(NOTSENT_BYTES) + info.bytes.readUInt32LE(UNACKED) === 0)
    return false;
  const isShut = info.bytes.readUInt32LE(UNACKED) === 0 || info.bytes.readUInt32LE(SND_WND) === 0;
  return isShut && info.bytes.readUInt8(PROBES) + info.bytes.readUInt8(RETRANSMITS) < TRIES_IN_VAIN;
}

function look(fd: number): boolean {
  infoSize.words[0] = INFO_BYTES;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.address, infoSize.address) === 0;
}
