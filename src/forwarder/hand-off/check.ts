import { type Address, localPortOf, peerOf } from '../address.js';
import type { Relay } from '../connection.js';
import { createSocket } from '../dial.js';
import { describeFailure } from '../dial-failure.js';
import { add, scheduleClose, type Watch } from '../loop.js';
import { pendingError, resetOnClose } from '../socket-options.js';
import { connect, E, EPOLLOUT, errno, errorWords } from '../syscalls.js';
import { createTimer, start, stop } from '../timers.js';

/** How long the target may take to accept, ms. */
const LONGEST_MS = 2000;

/** An active check. It begins paused. */
export interface TargetCheck {
  resume(): void;
  pause(): void;
}

/**
 * Connects to the target every `every` ms and closes the connection with a reset, so that the target has no TIME-WAIT of it. If it has
 * several addresses, one that accepts is enough. `report` gets what failed, or an empty text.
 */
export function watchTarget(relay: Relay, every: number, report: (failure: string) => void): TargetCheck {
  const { loop } = relay;
  let isPaused = true;
  /** The addresses that are to be tried yet. */
  let others: readonly Address[] = [];
  const finish = (failure: number): void => {
    stop(loop.timers, timeout);
    if (attempt.fd >= 0) resetOnClose(attempt.fd);
    scheduleClose(loop, attempt);
    if (isPaused) return;
    const [other, ...rest] = others;
    if (failure !== 0 && other !== undefined) {
      others = rest;
      connectTo(other);
      return;
    }
    report(failure === 0 ? '' : `${describeFailure(relay, failure)} (${errorWords(failure)})`);
    start(loop.timers, next, loop.now + every);
  };
  const attempt: Watch = {
    fd: -1,
    wanted: EPOLLOUT,
    mask: -1,
    changed: false,
    ready: () => finish(peerOf(attempt.fd) === undefined ? pendingError(attempt.fd) || E.ECONNREFUSED : 0),
    refused: finish,
  };
  const timeout = createTimer(() => finish(E.ETIMEDOUT));
  const next = createTimer(() => {
    if (relay.targetFailed()) return finish(E.ECONNREFUSED);
    const { to, named, resolver } = relay;
    // What is known by now is checked, and what comes of this the next time.
    if (to === undefined || (named !== undefined && loop.now >= named.expiresAt)) resolver?.refresh();
    others = named?.list.slice(1) ?? [];
    if (to === undefined) return finish(E.EDESTADDRREQ);
    return connectTo(to);
  });
  const connectTo = (to: Address): void => {
    const fd = createSocket(relay, to);
    if (fd < 0) {
      finish(errno());
      return;
    }
    attempt.fd = fd;
    attempt.wanted = EPOLLOUT;
    add(loop, attempt);
    if (attempt.fd < 0) return;
    const failure = connect(fd, to.sockaddr, to.size) < 0 ? errno() : 0;
    // One that has connected to itself has found nothing that listens.
    const isOwn = to.port !== 0 && localPortOf(fd) === to.port;
    if (failure !== E.EINPROGRESS) finish(failure);
    else if (isOwn) finish(E.ECONNREFUSED);
    else start(loop.timers, timeout, loop.now + LONGEST_MS);
  };
  return {
    resume() {
      if (!isPaused) return;
      isPaused = false;
      start(loop.timers, next, loop.now);
    },
    pause() {
      isPaused = true;
      stop(loop.timers, next);
      if (attempt.fd >= 0) finish(0);
    },
  };
}
