import { type Loop, modify, type Watch } from './loop.js';
import { E, EPOLLOUT } from './syscalls.js';
import { createTimer, start } from './timers.js';

/** The delay before a message is sent again that has found no memory, or too many descriptors in flight, ms. */
const PAUSE_MS = 50;

/**
 * Creates what waits for the next attempt to send a message from `watch`; `failure` is errno of the last one. Only of a full queue (EAGAIN)
 * does epoll tell when it has room. After any other error it would say at once, and on every round, that there is some.
 */
export function createSendRetry(loop: Loop, watch: Watch): (failure: number) => void {
  const retry = createTimer(() => modify(loop, watch, watch.wanted | EPOLLOUT));
  return (failure) => {
    if (failure === E.EAGAIN) {
      modify(loop, watch, watch.wanted | EPOLLOUT);
      return;
    }
    modify(loop, watch, watch.wanted & ~EPOLLOUT);
    start(loop.timers, retry, loop.now + PAUSE_MS);
  };
}
