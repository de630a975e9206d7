import type { Loop } from './loop.js';
import { createTimer, start } from './timers.js';

/** How the process notices that it is idle. */
export interface IdleOptions {
  /** How long nothing may be open, ms. */
  readonly after: number;
  /** Connections and sessions now. */
  readonly open: () => number;
  /** Accepts the clients that wait at the moment. */
  readonly acceptPending: () => void;
  readonly exit: () => void;
  /** Is told when nothing is open any more, with the time at which it exits then, ms since 1970. */
  readonly onQuiet: (exitAt: number) => void;
}

/**
 * Calls `exit` when nothing has been open for `after` ms. A client that arrives at that moment is still accepted. A later
 * one waits at the listening socket, which the service manager holds, and starts the service again. Returns a function to
 * call when the last connection or session has been closed.
 */
export function exitWhenIdle(
  loop: Loop,
  { after, open, acceptPending, exit, onQuiet }: IdleOptions,
): () => void {
  let quietSince = loop.now;
  const check = createTimer(() => {
    if (open() > 0) return;
    if (loop.now < quietSince + after) {
      start(loop.timers, check, quietSince + after);
      return;
    }
    acceptPending();
    if (open() === 0) exit();
  });
  start(loop.timers, check, quietSince + after);
  onQuiet(Date.now() + after);
  return () => {
    quietSince = loop.now;
    onQuiet(Date.now() + after);
    if (check.index < 0) start(loop.timers, check, quietSince + after);
  };
}
