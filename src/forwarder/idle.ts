import type { Relay } from './connection.js';
import type { Listener } from './listen.js';
import { createTimer, start } from './timers.js';

/**
 * Calls `exit` when `after` ms have passed without a connection. A client that arrives at that moment is
 * still accepted. A later one waits in the backlog of the listening socket, which the service manager holds,
 * and starts the service again. Returns a function to call when the last connection has been closed.
 */
export function exitWhenIdle(relay: Relay, listener: Listener, after: number, exit: () => void): () => void {
  const { loop } = relay;
  let quietSince = loop.now;
  const check = createTimer(() => {
    if (relay.open > 0) return;
    if (loop.now < quietSince + after) {
      start(loop.timers, check, quietSince + after);
      return;
    }
    listener.acceptPending();
    if (relay.open === 0) exit();
  });
  start(loop.timers, check, quietSince + after);
  return () => {
    quietSince = loop.now;
    if (check.index < 0) start(loop.timers, check, quietSince + after);
  };
}
