import {
  AF_UNSPEC,
  connect,
  errno,
  getsockopt,
  IPPROTO_TCP,
  pinned,
  SO_ERROR,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_OOBINLINE,
  SOL_SOCKET,
  setsockopt,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
  TCP_USER_TIMEOUT,
} from './syscalls.js';

const value = pinned(4);
const valueSize = pinned(4);

/** The value of an option of SOL_SOCKET that is an int (socket(7)); -1 if `fd` has none. */
export function socketOption(fd: number, name: number): number {
  valueSize.words[0] = 4;
  const isKnown = getsockopt(fd, SOL_SOCKET, name, value.address, valueSize.address) === 0;
  return isKnown ? (value.words[0] as number) : -1;
}

/** The pending error of `fd` (SO_ERROR, socket(7)), which is cleared by reading it; 0 if there is none. */
export function pendingError(fd: number): number {
  valueSize.words[0] = 4;
  const isKnown = getsockopt(fd, SOL_SOCKET, SO_ERROR, value.address, valueSize.address) === 0;
  return isKnown ? (value.words[0] as number) : errno();
}

/** struct linger {1, 0}: close(2) sends a reset (socket(7)). */
const lingerZero = pinned(8);
lingerZero.words[0] = 1;
const noLinger = pinned(8);

/** A sockaddr whose family is AF_UNSPEC. */
const unspecified = pinned(16);
unspecified.bytes.writeUInt16LE(AF_UNSPEC, 0);

/**
 * Sets the options of an established stream; clients inherit those of their listening socket. TCP_NODELAY:
 * Nagle's algorithm would delay small messages (tcp(7)). SO_LINGER: a session that has not ended in order is
 * reset, however the process dies (SIGKILL, a crash, the watchdog).
 */
export function setStreamOptions(fd: number): void {
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  resetOnClose(fd);
}

/** Makes close(2) of `fd` send a reset, including the implicit close when the process dies. */
export function resetOnClose(fd: number): void {
  setsockopt(fd, SOL_SOCKET, SO_LINGER, lingerZero.address, 8);
}

/** Makes close(2) of `fd` send what is left to send, and a FIN. */
export function endOnClose(fd: number): void {
  setsockopt(fd, SOL_SOCKET, SO_LINGER, noLinger.address, 8);
}

/**
 * Ends the connection of `fd` now, with a reset (connect(2), AF_UNSPEC), also if another process has a duplicate of it. The
 * socket can be connected again.
 */
export function disconnect(fd: number): void {
  connect(fd, unspecified.address, 16);
}

/** Makes recv(2) return urgent bytes in their place in the stream. To be set before the socket is connected. */
export function receiveUrgentInline(fd: number): void {
  setOption(fd, SOL_SOCKET, SO_OOBINLINE, 1);
}

/**
 * Makes the kernel give up the connection of `fd` when its peer has been silent for `ms`: by TCP_USER_TIMEOUT
 * while bytes are unacknowledged, and otherwise by keepalive probes after a third of the time and then every
 * sixth (tcp(7)). On a listening socket, it applies to clients that connect later.
 */
export function setPeerTimeout(fd: number, ms: number): void {
  const seconds = ms / 1000;
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, Math.max(1, Math.round(seconds / 3)));
  setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, Math.max(1, Math.round(seconds / 6)));
  setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
  setUserTimeout(fd, ms);
}

/**
 * Makes the kernel probe the peer of `fd` when it has been silent for `seconds`, at most 32767, and give the connection up after
 * as much time again without an answer (SO_KEEPALIVE, socket(7)). On a listening socket, it applies to clients that connect later.
 */
export function setKeepAlive(fd: number, seconds: number): void {
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
  setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, Math.max(1, Math.round(seconds / 3)));
  setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

/** Sets how long bytes may stay unacknowledged, ms; 0 is the kernel's own limit (TCP_USER_TIMEOUT, tcp(7)). */
export function setUserTimeout(fd: number, ms: number): void {
  setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ms);
}

/** Sets an option of a socket that is a number (setsockopt(2)). */
export function setOption(fd: number, level: number, name: number, number: number): void {
  value.words[0] = number;
  setsockopt(fd, level, name, value.address, 4);
}
