import {
  IPPROTO_TCP,
  pinned,
  SO_KEEPALIVE,
  SOL_SOCKET,
  setsockopt,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_USER_TIMEOUT,
} from './syscalls.js';

const value = pinned(4);

/**
 * Lets the kernel give up the connection of `fd` when its peer has been silent for `ms`: while bytes are on the way by
 * TCP_USER_TIMEOUT, while nobody speaks by keepalive probes after a third of the time and then every sixth (tcp(7)).
 * On a listening socket it holds for those that are accepted from then on.
 */
export function limitSilence(fd: number, ms: number): void {
  const seconds = ms / 1000;
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, Math.max(1, Math.round(seconds / 3)));
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, Math.max(1, Math.round(seconds / 6)));
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ms);
}

/** Sets how long bytes may stay unacknowledged, ms; 0 is the kernel's own limit (TCP_USER_TIMEOUT, tcp(7)). */
export function setLimit(fd: number, ms: number): void {
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ms);
}

/**
 * Lifts the limit from a socket that is about to be closed. A reader that pauses would otherwise lose the rest of what was
 * sent, and nobody watches the socket any more; the kernel has its own limit for those (tcp_orphan_retries, tcp(7)).
 */
export function liftLimit(fd: number): void {
  setLimit(fd, 0);
}

function set(fd: number, level: number, name: number, number: number): void {
  value.words[0] = number;
  setsockopt(fd, level, name, value.address, 4);
}
