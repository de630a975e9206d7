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
import { start, type Timers, timer } from './timers.js';
import { parseUnixAddress } from './unix.js';

/**
 * Sends one state to the service manager: "READY=1", "STATUS=3 open". It never waits, so that a busy service manager
 * does not stop the relay: a state that finds its queue full is sent as soon as there is room, unless one of the same
 * name ("STATUS") has replaced it by then.
 */
export type Notify = (state: string) => void;

/** How soon a state is sent again that found the queue full, ms: a small part of any watchdog's time. */
const RETRY_MS = 50;

/**
 * The way to the service manager, sd_notify(3), given the value of NOTIFY_SOCKET: a path, or a name in the
 * abstract namespace written "@name". Without it, states go nowhere. Throws an Error if `path` is neither.
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
    // Any other error (ENOENT, ECONNREFUSED) says that there is no service manager to hear it.
    return !BUSY.has(errno());
  };
  const retry = timer(() => {
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
    if (retry.place < 0) start(timers, retry, performance.now() + RETRY_MS);
  };
}

/** Errors of a queue that is full, or of a kernel that is short of memory: they pass. */
const BUSY = new Set([E.EAGAIN, E.ENOBUFS, E.ENOMEM, E.EINTR]);

/**
 * How often WATCHDOG=1 is due, ms: half of WATCHDOG_USEC, as sd_watchdog_enabled(3) advises. Undefined when the
 * service manager watches no process or another one.
 */
export function watchdogInterval(env: NodeJS.ProcessEnv, pid: number): number | undefined {
  const limit = Number(env.WATCHDOG_USEC);
  if (!(limit > 0)) return undefined;
  if (env.WATCHDOG_PID !== undefined && Number(env.WATCHDOG_PID) !== pid) return undefined;
  return limit / 2000;
}
