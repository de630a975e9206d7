import {
  AF_UNIX,
  errno,
  errorWords,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  sendto,
  socket,
} from './syscalls.js';
import { parseUnixAddress } from './unix.js';

/**
 * Sends one state to the service manager: "READY=1", "STATUS=3 open". It waits for room only if `wait` is true, so
 * that a busy service manager never stops the relay.
 */
export type Notify = (state: string, wait?: boolean) => void;

/**
 * The way to the service manager, sd_notify(3), given the value of NOTIFY_SOCKET: a path, or a name in the
 * abstract namespace written "@name". Without it, states go nowhere. Throws an Error if `path` is neither.
 */
export function createNotify(path: string | undefined): Notify {
  if (path === undefined || path === '') return () => {};
  const { sockaddr, size } = parseUnixAddress('NOTIFY_SOCKET', path);
  const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new Error(`no socket to the service manager (${errorWords(errno())})`);
  return (state, wait = false) => {
    const bytes = Buffer.from(state);
    sendto(fd, bytes, bytes.length, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT), sockaddr, size);
  };
}

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
