import { isAllowed, reject, rejectUnbound } from './access.js';
import { peerOf, SIZE_V6 } from './address.js';
import type { Relay } from './connection.js';
import { bindToDevice } from './device.js';
import { add, modify, unwatch, type Watch } from './loop.js';
import { type ProxyProtocol, serveWithHeaders } from './proxy-protocol/serve.js';
import { type Rate, spend, waitFor } from './rate.js';
import type { Serve } from './serve.js';
import {
  receiveUrgentInline,
  resetOnClose,
  setKeepAlive,
  setPeerTimeout,
  setStreamOptions,
  socketOption,
} from './socket-options.js';
import { refuseIfMany } from './sources.js';
import type { PassedDescriptor } from './store/recover.js';
import { generationOf } from './store/store.js';
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  accept4,
  close,
  E,
  EPOLLIN,
  errno,
  errorWords,
  F_GETFL,
  F_SETFL,
  fcntl,
  getpeername,
  O_NONBLOCK,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_TYPE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  SOCK_STREAM,
} from './syscalls.js';
import { ageOfAccepted } from './tcp-info.js';
import { createTimer, start } from './timers.js';

/** The first descriptor that a service manager passes: SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_FD = 3;

/** The most clients that one listening socket accepts in a round of the loop. */
const ACCEPTS_A_ROUND = 16;

/** How long a client of TCP waits for its turn before it is refused, ms. */
const LONGEST_WAIT_MS = 5000;

/** The most clients of a listening socket that are refused in a round of the loop. */
const REFUSALS_A_ROUND = 64;

/** What `take` returns for a client that is not to be served. */
const NONE = -2;

/** How long accepting pauses when the kernel is out of descriptors or memory, ms. */
const PAUSE_MS = 1000;

/** The sockets that a service manager passes: listening ones, and bound ones for datagrams. */
export interface PassedSockets {
  /** Of TCP, and unix ones for streams. */
  readonly streams: number[];
  /** Of UDP. */
  readonly datagrams: number[];
  /** Unix sockets for datagrams, and listening ones for connections that keep the boundaries of messages (unix(7)). */
  readonly unixDatagrams: number[];
  readonly packets: number[];
}

/** What a service manager has passed. */
export interface Passed {
  readonly sockets: PassedSockets;
  /** What an earlier process has put into the file descriptor store. */
  readonly stored: PassedDescriptor[];
}

/**
 * Returns the descriptors that a service manager has passed to the process `pid` (sd_listen_fds(3)). Throws an
 * Error that says what to do if there is no socket of the link's, or if one is neither of the internet nor a unix socket, or does
 * not listen.
 */
export function passedFds(env: NodeJS.ProcessEnv, pid: number): Passed {
  const count = Number(env.LISTEN_FDS);
  if (!(count >= 1)) {
    throw new Error('no listening socket was passed (LISTEN_FDS is not set): start the .socket unit instead');
  }
  if (Number(env.LISTEN_PID) !== pid) {
    throw new Error(
      `the listening sockets are for process ${env.LISTEN_PID} (LISTEN_PID), this one is ${pid}`,
    );
  }
  const sockets: PassedSockets = { streams: [], datagrams: [], unixDatagrams: [], packets: [] };
  const stored: PassedDescriptor[] = [];
  const names = (env.LISTEN_FDNAMES ?? '').split(':');
  for (let index = 0; index < count; index++) {
    const passed = { fd: FIRST_FD + index, name: names[index] ?? '' };
    if (generationOf(passed.name) !== undefined) stored.push(passed);
    else kindOf(passed.fd, sockets).push(passed.fd);
  }
  return { sockets, stored };
}

function kindOf(fd: number, sockets: PassedSockets): number[] {
  const domain = socketOption(fd, SO_DOMAIN);
  const type = socketOption(fd, SO_TYPE);
  const isUnix = domain === AF_UNIX;
  if (isUnix || domain === AF_INET || domain === AF_INET6) {
    if (type === SOCK_DGRAM) return isUnix ? sockets.unixDatagrams : sockets.datagrams;
    if (socketOption(fd, SO_ACCEPTCONN) === 1) {
      if (type === SOCK_STREAM) return sockets.streams;
      if (type === SOCK_SEQPACKET && isUnix) return sockets.packets;
    }
  }
  throw new Error(`file descriptor ${fd} is neither a listening socket nor one for datagrams`);
}

/** The listening sockets of the link. */
export interface Listener {
  /** Accepts the clients that are waiting in the backlog. */
  acceptPending(): void;
  /** Resumes accepting after a pause, because a connection has been closed. */
  resume(): void;
  /** Accepts no client any more. */
  stop(): void;
}

/** How clients are accepted. */
export interface ListenOptions {
  /** The most clients at a time, and how many there are. */
  readonly maxOpen: number;
  readonly open: () => number;
  /** The most new clients in a second; undefined: any. */
  readonly rate: Rate | undefined;
  /** What is done with PROXY headers; undefined: nothing. A link that has this has no rule of access. */
  readonly proxy: ProxyProtocol | undefined;
  /** Serves a client that is let in. */
  readonly serve: Serve;
}

/** A listening socket. */
interface Head extends Watch {
  readonly isUnix: boolean;
  /** A client that was taken out of the backlog to see how long it has waited, and has to wait on; -1 if there is none. */
  first: number;
}

/**
 * Accepts clients on `fds` within the limits. Further ones wait in the backlog of the kernel, those of TCP for 5 s at most: then they
 * are refused.
 */
export function listen(relay: Relay, fds: number[], options: ListenOptions): Listener {
  const { maxOpen, open, rate, proxy, serve } = options;
  const { loop, log, access, device, sources, clientTimeout, keepAlive } = relay;
  const peer = access ?? proxy;
  const [from, fromSize] = peer === undefined ? [0, 0] : [peer.room.address, peer.roomSize.address];
  let paused = false;
  let stopped = false;
  // A client inherits the options of its listening socket when the handshake completes. The first clients in
  // the backlog, including the one that started this process, were connected before the options were set.
  const early = new Set(fds);
  const setOptions = (fd: number, isUnix: boolean): void => {
    if (isUnix) return;
    setStreamOptions(fd);
    receiveUrgentInline(fd);
    if (clientTimeout !== undefined) setPeerTimeout(fd, clientTimeout);
    else if (keepAlive !== undefined) setKeepAlive(fd, keepAlive);
  };
  const heads = fds.map((fd): Head => {
    const isUnix = socketOption(fd, SO_DOMAIN) === AF_UNIX;
    setOptions(fd, isUnix);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
    let most = ACCEPTS_A_ROUND;
    let lastRound = loop.round;
    const ready = (): void => {
      // While clients arrive one at a time, trying to accept another would cost each of them a system call.
      const isBusy = loop.round === lastRound + 1 || early.has(fd);
      most = isBusy ? Math.min(2 * most, ACCEPTS_A_ROUND) : 1;
      lastRound = loop.round;
      accept(head, most);
    };
    const head: Head = {
      fd,
      isUnix,
      first: -1,
      wanted: EPOLLIN,
      mask: -1,
      changed: false,
      ready,
      refused: (failure) => watchLater(head, failure),
    };
    return head;
  });

  const resume = (): void => {
    if (stopped || !paused || open() >= maxOpen) return;
    paused = false;
    for (const head of heads) {
      modify(loop, head, EPOLLIN);
      if (head.first >= 0) accept(head, 1);
      // That client has taken the last place.
      if (paused) return;
    }
  };
  const retry = createTimer(resume);
  const pause = (): void => {
    paused = true;
    for (const head of heads) unwatch(loop, head);
  };

  /** Watches a listening socket later that the kernel does not watch now. The others go on. */
  const watchLater = (head: Head, failure: number): void => {
    const again = createTimer(() => modify(loop, head, paused || stopped ? 0 : EPOLLIN));
    start(loop.timers, again, loop.now + PAUSE_MS);
    const message = `the kernel does not watch a listening socket (${errorWords(failure)})`;
    log.failure(
      `failed listen ${failure}`,
      `${message}; new clients wait for 1 s`,
      (count) => `${message}, ${count} more times in the last 10 s`,
    );
  };

  /** Pauses if there is no place for another client. Returns whether it has. */
  const pauseIfFull = (): boolean => {
    if (open() >= maxOpen) {
      pauseFor(
        'full',
        `${open()} clients are connected, which is as many as --max-connections and LimitNOFILE= allow`,
      );
      return true;
    }
    const wait = rate === undefined ? 0 : waitFor(rate, loop.now);
    if (rate === undefined || wait === 0) return false;
    pauseFor('rate', `more than ${rate.perSecond} clients a second arrive (--rate)`);
    start(loop.timers, retry, loop.now + wait);
    return true;
  };
  const pauseFor = (kind: 'full' | 'rate', message: string): void => {
    pause();
    if (overdue.index < 0) start(loop.timers, overdue, loop.now + LONGEST_WAIT_MS);
    const fate = `more of them wait, and are refused after ${LONGEST_WAIT_MS / 1000} s`;
    log.failure(
      `limited ${kind}`,
      `${message}; ${fate}`,
      (count) => `${message}; that happened ${count} more times in the last 10 s`,
    );
  };

  /** Refuses the clients that have waited too long, and looks again when the next of them will have. */
  const overdue = createTimer(() => {
    if (!paused) return;
    const waits = heads.filter(({ isUnix }) => !isUnix).map(refuseOverdue);
    start(loop.timers, overdue, loop.now + Math.min(...waits, LONGEST_WAIT_MS));
  });
  /** Returns when to look again, ms. */
  const refuseOverdue = (head: Head): number => {
    for (let i = 0; i < REFUSALS_A_ROUND; i++) {
      const client = take(head);
      if (client === NONE) continue;
      if (client < 0) return LONGEST_WAIT_MS;
      const waited = ageOfAccepted(client);
      if (waited < LONGEST_WAIT_MS) {
        head.first = client;
        return LONGEST_WAIT_MS - waited;
      }
      relay.counters.refused += 1;
      log.failure(
        'refused overdue',
        `refused ${peerOf(client) ?? 'a client'}: it has waited for ${LONGEST_WAIT_MS / 1000} s`,
        (count) =>
          `refused ${count} more clients in the last 10 s that had waited for ${LONGEST_WAIT_MS / 1000} s`,
      );
      resetOnClose(client);
      close(client);
    }
    return 1;
  };

  /**
   * The client that has waited longest, {@link NONE} if that one was refused or is gone, or -1 if none could be accepted: see
   * errno().
   */
  const take = (head: Head): number => {
    const { first } = head;
    if (peer !== undefined) peer.roomSize.words[0] = SIZE_V6;
    if (first >= 0) {
      head.first = -1;
      // Another client may have written its address there. One that is gone has none.
      if (peer !== undefined && getpeername(first, from, fromSize) < 0) peer.room.words[0] = 0;
      return first;
    }
    const client = accept4(head.fd, from, fromSize, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return TRANSIENT.has(errno()) ? NONE : -1;
    if (access !== undefined && !isAllowed(access)) {
      relay.counters.denied += 1;
      reject(access, client, log);
      return NONE;
    }
    if (device !== undefined && !bindToDevice(client, device)) {
      relay.counters.denied += 1;
      rejectUnbound(device, client, log);
      return NONE;
    }
    return client;
  };

  const accept = (head: Head, most: number): void => {
    const { fd, isUnix } = head;
    for (let i = 0; i < most && !paused; i++) {
      if (pauseIfFull()) return;
      const client = take(head);
      if (client === NONE) continue;
      if (client < 0) {
        acceptFailed(fd, errno());
        return;
      }
      if (sources !== undefined && !isUnix && refuseIfMany(sources, client, log)) {
        relay.counters.refused += 1;
        continue;
      }
      if (rate !== undefined) spend(rate);
      if (early.has(fd)) setOptions(client, isUnix);
      if (proxy === undefined) serve(relay, client, { isUnix });
      else serveWithHeaders(relay, proxy, { fd: client, isUnix, serve });
    }
  };
  const acceptFailed = (fd: number, failure: number): void => {
    if (failure === E.EAGAIN) {
      early.delete(fd);
      return;
    }
    pause();
    start(loop.timers, retry, loop.now + PAUSE_MS);
    const message = `no client could be accepted (${errorWords(failure)})`;
    log.failure(
      `failed accept ${failure}`,
      `${message} with ${open()} connected; new ones wait until one leaves, or 1 s`,
      (count) => `${message}, ${count} more times in the last 10 s`,
    );
  };
  for (const head of heads) add(loop, head);
  return {
    acceptPending: () => {
      for (const head of heads) accept(head, ACCEPTS_A_ROUND);
    },
    resume,
    stop() {
      stopped = true;
      pause();
    },
  };
}

/**
 * Errors of one client, not of the listening socket: accept(2) says to try again. EPERM is none of them: it comes from a security module
 * or a system call filter, which leaves the client in the backlog, so that the next attempt would fail at once.
 */
const TRANSIENT = new Set([
  E.EINTR,
  E.ECONNABORTED,
  E.EPROTO,
  E.ENETDOWN,
  E.ENOPROTOOPT,
  E.EHOSTUNREACH,
  E.ENETUNREACH,
  E.EOPNOTSUPP,
]);
