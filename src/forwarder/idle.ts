import type { Relay } from './connection.js';
import type { Door } from './listen.js';
import { start, timer } from './timers.js';

/**
 * Calls `exit` when `after` ms have passed without a connection. A client who came at that very moment is still
 * accepted; one who comes later waits in the backlog, which is the service manager's, and starts the link again.
 * Returns what is to be called when the last connection has been closed.
 */
export function exitWhenIdle(relay: Relay, door: Door, after: number, exit: () => void): () => void {
  const { loop } = relay;
  let quietSince = loop.now;
  const check = timer(() => {
    if (relay.open > 0) return;
    if (loop.now < quietSince + after) {
      start(loop.timers, check, quietSince + after);
      return;
    }
    door.knock();
    if (relay.open === 0) exit();
  });
  start(loop.timers, check, quietSince + after);
  return () => {
    quietSince = loop.now;
    if (check.place < 0) start(loop.timers, check, quietSince + after);
  };
}
