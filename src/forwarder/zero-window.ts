import type { Connection, End, Relay } from './connection.js';
import { setUserTimeout } from './socket-options.js';
import { hasZeroWindow } from './tcp-info.js';
import { createTimer, start } from './timers.js';

/** The most connections checked in one slice of the walk over all, and the delay until the next slice, ms. */
const CHECKS_A_SLICE = 64;
const SLICE_PAUSE_MS = 1;

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
    setUserTimeout(end.fd, pauses ? 0 : limit);
    if (pauses) exempt.add(end);
    else exempt.delete(end);
  };
  // The iterator of a Set visits entries added during the walk, so the walk also ends after as many as there
  // were.
  let walk: Iterator<Connection> | undefined;
  let left = 0;
  const slice = createTimer(() => {
    if (walk === undefined) {
      walk = connections?.values();
      left = connections?.size ?? 0;
    }
    for (let checks = 0; checks < CHECKS_A_SLICE; checks++, left--) {
      const next = left > 0 ? walk?.next() : undefined;
      if (next === undefined || next.done) {
        walk = undefined;
        start(loop.timers, slice, loop.now + every);
        return;
      }
      const { client, target, connected } = next.value;
      check(client, clientTimeout);
      if (connected) check(target, targetTimeout);
    }
    start(loop.timers, slice, loop.now + SLICE_PAUSE_MS);
  });
  start(loop.timers, slice, loop.now + every);
}
