import { type Connection, closeWithReset, type Relay } from './connection.js';
import { createTimer, start } from './timers.js';

/** How often sessions are looked at within the time that they may be idle, and the longest delay between two looks, ms. */
const LOOKS = 8;
const LONGEST_MS = 60_000;

/** What a connection had moved when it was last looked at, bytes, and since when no more, ms, on the clock of the loop. */
interface Seen {
  moved: number;
  since: number;
}

/**
 * Resets the connections on which no byte has moved for `timeout` ms, whether nothing is sent or a peer does not read. Moving a
 * byte costs nothing for it: all connections are looked at from time to time, so it may take a quarter longer.
 */
export function endIdleSessions(relay: Relay, connections: Set<Connection>, timeout: number): void {
  const { loop, log } = relay;
  const period = Math.min(LONGEST_MS, timeout / LOOKS);
  const seen = new WeakMap<Connection, Seen>();
  const look = createTimer(() => {
    let ended = 0;
    for (const connection of connections) {
      const { up, down, openedAt } = connection;
      // Connecting has a limit of its own.
      if (!connection.connected) continue;
      const moved = 2 * (up.bytes + down.bytes) - up.held - down.held;
      const before = seen.get(connection) ?? { moved: 0, since: openedAt };
      if (before.moved !== moved) seen.set(connection, { moved, since: loop.now });
      else if (loop.now - before.since >= timeout) {
        closeWithReset(connection);
        ended += 1;
      }
    }
    if (ended > 0) {
      relay.counters.timedOut += ended;
      const sessions = (count: number) => (count === 1 ? '1 session' : `${count} sessions`);
      log.info(
        'timed-out',
        `reset ${sessions(ended)} on which no byte moved for ${timeout / 1000} s (--idle-timeout)`,
      );
    }
    start(loop.timers, look, loop.now + period);
  });
  start(loop.timers, look, loop.now + period);
}
