import {
  AF_UNIX,
  E,
  errno,
  errorWords,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  sendto,
  socket,
} from './syscalls.js';
import { createTimer, start, type Timers } from './timers.js';
import { parseUnixAddress } from './unix/address.js';

/**
 * Sends one state to the service manager, such as "READY=1" or "STATUS=3 open". Never blocks, so that a busy
 * service manager does not stop the relay. A state that finds the queue full is retried until there is room,
 * or until another one of the same name ("STATUS") replaces it.
 */
export type Notify = (state: string) => void;

/**
 * The delay before a state is retried that found the queue full, ms: a small part of any watchdog timeout.
 */
const RETRY_MS = 50;

/**
 * Connects to the service manager (sd_notify(3)). `path` is the value of NOTIFY_SOCKET: a path, or a name in
 * the abstract namespace written "@name". If it is undefined or empty, states are discarded. Throws an Error
 * if it is neither.
 */
export function createNotify(path: string | undefined, timers: Timers): Notify {
  if (path === undefined || path === '') return () => {};
  const { sockaddr, size } = parseUnixAddress('NOTIFY_SOCKET', path);
  const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new Error(`no socket to the service manager (${errorWords(errno())})`);
  const unsent = new Map<string, string>();
  const isTaken = (state: string): boolean => {
    const bytes = Buffer.from(state);
    if (sendto(fd, bytes, bytes.length, MSG_NOSIGNAL | MSG_DONTWAIT, sockaddr, size) >= 0) return true;
    // Any other error (ENOENT, ECONNREFUSED) means that no service manager is listening.
    return !BUSY.has(errno());
  };
  const retry = createTimer(() => {
    for (const [name, state] of unsent) {
      if (!isTaken(state)) break;
      unsent.delete(name);
    }
    if (unsent.size > 0) start(timers, retry, performance.now() + RETRY_MS);
  });
  return (state) => {
    const name = state.slice(0, state.indexOf('='));
    if (unsent.size === 0 && isTaken(state)) return;
    unsent.delete(name);
    unsent.set(name, state);
    if (retry.index < 0) start(timers, retry, performance.now() + RETRY_MS);
  };
}

/** Errors of a full queue, or of a kernel that is short of memory: retrying helps. */
const BUSY = new Set([E.EAGAIN, E.ENOBUFS, E.ENOMEM, E.EINTR]);
