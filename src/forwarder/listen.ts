import { SIZE_V6 } from './address.js';
import { isWelcome, turnAway, turnAwayUnbound } from './allow.js';
import type { Relay } from './connection.js';
import { bindToDevice } from './device.js';
import { add, park, type Watch, want } from './loop.js';
import { limitSilence } from './silence.js';
import {
  AF_INET,
  AF_INET6,
  accept4,
  E,
  EPOLLIN,
  errno,
  errorWords,
  F_GETFL,
  F_SETFL,
  fcntl,
  getsockopt,
  IPPROTO_TCP,
  O_NONBLOCK,
  pinned,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_OOBINLINE,
  SO_TYPE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  setsockopt,
  TCP_NODELAY,
} from './syscalls.js';
import { serve } from './tcp.js';
import { start, timer } from './timers.js';

/** First descriptor that a service manager passes: SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_FD = 3;

/** Most clients accepted by one listener before others have their turn. */
const ACCEPTS_A_ROUND = 16;

/** How long no client is accepted after the kernel has no more descriptors or memory, ms. */
const PAUSE_MS = 1000;

const value = pinned(4);
const valueSize = pinned(4);

/**
 * The listening sockets that a service manager has passed to the process `pid`, sd_listen_fds(3). Throws an Error
 * that says what to do when there are none, or one is not a listening TCP socket.
 */
export function listenFds(env: NodeJS.ProcessEnv, pid: number): number[] {
  const count = Number(env.LISTEN_FDS);
  if (!(count >= 1)) {
    throw new Error('no listening socket was passed (LISTEN_FDS is not set): start the .socket unit instead');
  }
  if (Number(env.LISTEN_PID) !== pid) {
    throw new Error(
      `the listening sockets are for process ${env.LISTEN_PID} (LISTEN_PID), this one is ${pid}`,
    );
  }
  const fds = Array.from({ length: count }, (_, i) => FIRST_FD + i);
  for (const fd of fds) {
    const tcp = option(fd, SO_DOMAIN) === AF_INET || option(fd, SO_DOMAIN) === AF_INET6;
    if (!tcp || option(fd, SO_TYPE) !== SOCK_STREAM || option(fd, SO_ACCEPTCONN) !== 1) {
      throw new Error(`file descriptor ${fd} is not a listening TCP socket`);
    }
  }
  return fds;
}

/** Where clients come in. */
export interface Door {
  /** Accepts those who wait now. */
  knock(): void;
  /** Goes on after a pause, since a connection has been closed. */
  resume(): void;
}

/** Accepts clients on `fds`, at most `maxOpen` at a time; the others wait in the kernel's backlog. */
export function listen(relay: Relay, fds: number[], maxOpen: number): Door {
  const { loop, log, guard, device, clientSilence } = relay;
  const [from, fromSize] = guard === undefined ? [0, 0] : [guard.room.address, guard.roomSize.address];
  let paused = false;
  // Sockets inherit the options of their listener when they are connected. Those at the front of the backlog, among them
  // the one that has started this process, were connected before the options were set.
  const early = new Set(fds);
  const setOptions = (fd: number): void => {
    value.words[0] = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, value.address, 4);
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, value.address, 4);
    if (clientSilence !== undefined) limitSilence(fd, clientSilence);
  };
  const listeners = fds.map((fd): Watch => {
    setOptions(fd);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
    let most = ACCEPTS_A_ROUND;
    let lastRound = loop.round;
    const ready = (): void => {
      // Where clients come one by one, the attempt that finds no other would be a system call a client.
      const isBusy = loop.round === lastRound + 1 || early.has(fd);
      most = isBusy ? Math.min(2 * most, ACCEPTS_A_ROUND) : 1;
      lastRound = loop.round;
      accept(fd, most);
    };
    return { fd, wanted: EPOLLIN, mask: -1, changed: false, ready, refused: (failure) => tryLater(failure) };
  });

  const resume = (): void => {
    if (!paused || relay.open >= maxOpen) return;
    paused = false;
    for (const listener of listeners) want(loop, listener, EPOLLIN);
  };
  const again = timer(resume);
  const pause = (): void => {
    paused = true;
    for (const listener of listeners) park(loop, listener);
  };

  const tryLater = (failure: number): void => {
    paused = true;
    start(loop.timers, again, loop.now + PAUSE_MS);
    const story = `the kernel does not watch a listening socket (${errorWords(failure)})`;
    log.failure(
      `listen ${failure}`,
      `${story}; new clients wait until one leaves, or 1 s`,
      (count) => `${story}, ${count} more times in the last 10 s`,
    );
  };

  const accept = (fd: number, most: number): void => {
    for (let i = 0; i < most && !paused; i++) {
      if (relay.open >= maxOpen) {
        pause();
        const story = `${relay.open} clients are connected, which is as many as --max-open and LimitNOFILE= allow`;
        log.failure(
          'full',
          `${story}; more of them wait until one leaves`,
          (count) => `${story}; that happened ${count} more times in the last 10 s`,
        );
        return;
      }
      if (guard !== undefined) guard.roomSize.words[0] = SIZE_V6;
      const client = accept4(fd, from, fromSize, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (client >= 0) {
        if (guard !== undefined && !isWelcome(guard)) {
          turnAway(guard, client, log);
          continue;
        }
        if (device !== undefined && !bindToDevice(client, device)) {
          turnAwayUnbound(device, client, log);
          continue;
        }
        if (early.has(fd)) setOptions(client);
        serve(relay, client);
        continue;
      }
      const failure = errno();
      if (failure === E.EAGAIN) {
        early.delete(fd);
        return;
      }
      if (PASSING.has(failure)) continue;
      pause();
      start(loop.timers, again, loop.now + PAUSE_MS);
      const story = `no client could be accepted (${errorWords(failure)})`;
      log.failure(
        `accept ${failure}`,
        `${story} with ${relay.open} connected; new ones wait until one leaves, or 1 s`,
        (count) => `${story}, ${count} more times in the last 10 s`,
      );
    }
  };
  for (const listener of listeners) add(loop, listener);
  return {
    knock: () => {
      for (const fd of fds) accept(fd, ACCEPTS_A_ROUND);
    },
    resume,
  };
}

/** Errors of one client, not of the listener: accept(2) says to try again. */
const PASSING = new Set([
  E.EINTR,
  E.ECONNABORTED,
  E.EPERM,
  E.EPROTO,
  E.ENETDOWN,
  E.ENOPROTOOPT,
  E.EHOSTUNREACH,
  E.ENETUNREACH,
  E.EOPNOTSUPP,
]);

function option(fd: number, name: number): number {
  valueSize.words[0] = 4;
  return getsockopt(fd, SOL_SOCKET, name, value.address, valueSize.address) < 0
    ? -1
    : (value.words[0] as number);
}
