import { localPortOf, peerOf } from '../address.js';
import type { Relay } from '../connection.js';
import { createSocket, describeFailure, errorOf } from '../dial.js';
import { add, scheduleClose, type Watch } from '../loop.js';
import { resetOnClose } from '../socket-options.js';
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
 * Connects to the target every `every` ms and closes the connection with a reset, so that the target has no TIME-WAIT of it. After
 * each attempt, `report` gets what failed, or an empty text.
 */
export function watchTarget(relay: Relay, every: number, report: (failure: string) => void): TargetCheck {
  const { loop } = relay;
  let isPaused = true;
  const finish = (failure: number): void => {
    stop(loop.timers, timeout);
    if (attempt.fd >= 0) resetOnClose(attempt.fd);
    scheduleClose(loop, attempt);
    if (isPaused) return;
    report(failure === 0 ? '' : `${describeFailure(relay, failure)} (${errorWords(failure)})`);
    start(loop.timers, next, loop.now + every);
  };
  const attempt: Watch = {
    fd: -1,
    wanted: EPOLLOUT,
    mask: -1,
    changed: false,
    ready: () => finish(peerOf(attempt.fd) === undefined ? errorOf(attempt.fd) || E.ECONNREFUSED : 0),
    refused: finish,
  };
  const timeout = createTimer(() => finish(E.ETIMEDOUT));
  const next = createTimer(() => {
    if (relay.targetFailed()) return finish(E.ECONNREFUSED);
    if (relay.to === undefined) {
      relay.resolver?.refresh();
      return finish(E.EDESTADDRREQ);
    }
    const fd = createSocket(relay, relay.to);
    if (fd < 0) return finish(errno());
    attempt.fd = fd;
    attempt.wanted = EPOLLOUT;
    add(loop, attempt);
    if (attempt.fd < 0) return;
    const failure = connect(fd, relay.to.sockaddr, relay.to.size) < 0 ? errno() : 0;
    if (failure !== E.EINPROGRESS) return finish(failure);
    // It has connected to itself, and nothing listens there.
    if (relay.to.port !== 0 && localPortOf(fd) === relay.to.port) return finish(E.ECONNREFUSED);
    start(loop.timers, timeout, loop.now + LONGEST_MS);
  });
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
