import { isAllowed, reject, rejectUnbound } from './access.js';
import { SIZE_V6 } from './address.js';
import type { Relay } from './connection.js';
import { bindToDevice } from './device.js';
import { add, modify, unwatch, type Watch } from './loop.js';
import { type ProxyProtocol, serveWithHeaders } from './proxy-protocol/serve.js';
import { serve } from './serve.js';
import { receiveUrgentInline, setPeerTimeout, setStreamOptions, socketOption } from './socket-options.js';
import type { PassedDescriptor } from './store/recover.js';
import { generationOf } from './store/store.js';
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  accept4,
  E,
  EPOLLIN,
  errno,
  errorWords,
  F_GETFL,
  F_SETFL,
  fcntl,
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
import { createTimer, start } from './timers.js';

/** The first descriptor that a service manager passes: SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_FD = 3;

/** The most clients that one listening socket accepts in a round of the loop. */
const ACCEPTS_A_ROUND = 16;

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
}

/** How clients are accepted: at most `maxOpen` at a time; further ones wait in the backlog of the kernel. */
export interface ListenOptions {
  readonly maxOpen: number;
  /** What is done with PROXY headers; undefined: nothing. A link that has this has no rule of access. */
  readonly proxy: ProxyProtocol | undefined;
}

/** Accepts clients on `fds`. */
export function listen(relay: Relay, fds: number[], { maxOpen, proxy }: ListenOptions): Listener {
  const { loop, log, access, device, clientTimeout } = relay;
  const peer = access ?? proxy;
  const [from, fromSize] = peer === undefined ? [0, 0] : [peer.room.address, peer.roomSize.address];
  let paused = false;
  // A client inherits the options of its listening socket when the handshake completes. The first clients in
  // the backlog, including the one that started this process, were connected before the options were set.
  const early = new Set(fds);
  const unix = new Set(fds.filter((fd) => socketOption(fd, SO_DOMAIN) === AF_UNIX));
  const setOptions = (fd: number, isUnix: boolean): void => {
    if (isUnix) return;
    setStreamOptions(fd);
    receiveUrgentInline(fd);
    if (clientTimeout !== undefined) setPeerTimeout(fd, clientTimeout);
  };
  const listeners = fds.map((fd): Watch => {
    setOptions(fd, unix.has(fd));
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
    let most = ACCEPTS_A_ROUND;
    let lastRound = loop.round;
    const ready = (): void => {
      // While clients arrive one at a time, trying to accept another would cost each of them a system call.
      const isBusy = loop.round === lastRound + 1 || early.has(fd);
      most = isBusy ? Math.min(2 * most, ACCEPTS_A_ROUND) : 1;
      lastRound = loop.round;
      accept(fd, most);
    };
    return {
      fd,
      wanted: EPOLLIN,
      mask: -1,
      changed: false,
      ready,
      refused: (failure) => pauseAfter(failure),
    };
  });

  const resume = (): void => {
    if (!paused || relay.open >= maxOpen) return;
    paused = false;
    for (const listener of listeners) modify(loop, listener, EPOLLIN);
  };
  const retry = createTimer(resume);
  const pause = (): void => {
    paused = true;
    for (const listener of listeners) unwatch(loop, listener);
  };

  const pauseAfter = (failure: number): void => {
    paused = true;
    start(loop.timers, retry, loop.now + PAUSE_MS);
    const message = `the kernel does not watch a listening socket (${errorWords(failure)})`;
    log.failure(
      `listen ${failure}`,
      `${message}; new clients wait until one leaves, or 1 s`,
      (count) => `${message}, ${count} more times in the last 10 s`,
    );
  };

  const accept = (fd: number, most: number): void => {
    for (let i = 0; i < most && !paused; i++) {
      if (relay.open >= maxOpen) {
        pause();
        const message = `${relay.open} clients are connected, which is as many as --max-open and LimitNOFILE= allow`;
        log.failure(
          'full',
          `${message}; more of them wait until one leaves`,
          (count) => `${message}; that happened ${count} more times in the last 10 s`,
        );
        return;
      }
      if (peer !== undefined) peer.roomSize.words[0] = SIZE_V6;
      const client = accept4(fd, from, fromSize, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (client >= 0) {
        if (access !== undefined && !isAllowed(access)) {
          relay.counters.denied += 1;
          reject(access, client, log);
          continue;
        }
        if (device !== undefined && !bindToDevice(client, device)) {
          relay.counters.denied += 1;
          rejectUnbound(device, client, log);
          continue;
        }
        const isUnix = unix.has(fd);
        if (early.has(fd)) setOptions(client, isUnix);
        if (proxy === undefined) serve(relay, client, isUnix);
        else serveWithHeaders(relay, proxy, { fd: client, isUnix });
        continue;
      }
      const failure = errno();
      if (failure === E.EAGAIN) {
        early.delete(fd);
        return;
      }
      if (TRANSIENT.has(failure)) continue;
      pause();
      start(loop.timers, retry, loop.now + PAUSE_MS);
      const message = `no client could be accepted (${errorWords(failure)})`;
      log.failure(
        `accept ${failure}`,
        `${message} with ${relay.open} connected; new ones wait until one leaves, or 1 s`,
        (count) => `${message}, ${count} more times in the last 10 s`,
      );
    }
  };
  for (const listener of listeners) add(loop, listener);
  return {
    acceptPending: () => {
      for (const fd of fds) accept(fd, ACCEPTS_A_ROUND);
    },
    resume,
  };
}

/** Errors of one client, not of the listening socket: accept(2) says to try again. */
const TRANSIENT = new Set([
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
