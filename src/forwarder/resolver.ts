import { readFileSync } from 'node:fs';
import { type Address, parseAddress } from './address.js';
import { parseDevice } from './device.js';
import type { Log } from './log.js';
import { add, type Loop, scheduleClose, type Watch } from './loop.js';
import {
  AF_UNIX,
  close,
  connect,
  E,
  EPOLLRDHUP,
  errno,
  errorWords,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  socket,
} from './syscalls.js';

/** The content of the address file. All fields are undefined if the file is missing or unreadable. */
export interface Resolution {
  /** The address of the target. */
  readonly to?: Address;
  /** Why the other machine could not set up its part, for log messages. */
  readonly reason?: string;
  /** Why its part closes clients, in the words of that machine. */
  readonly failing?: string;
  /** All addresses of a name, in the order in which to try them. `to` is the first. */
  readonly list?: readonly Address[];
  /** When the name is to be looked up again, ms, on the clock of performance.now(). */
  readonly expiresAt?: number;
  /** Why the last lookup of the name has failed. */
  readonly problem?: string;
}

/** Finds a target on another machine, or the addresses of a name. */
export interface Resolver {
  /**
   * Requests that the address be refreshed. Does nothing while a request is pending, or within 1 s after the
   * last answer or failed request; a caller that still has no target asks again. Returns whether a request is pending.
   */
  refresh(): boolean;
}

/** Where a resolver finds what is known, and how it is refreshed. */
export interface ResolverOptions {
  /** Reads the file. */
  readonly read: () => Resolution;
  /** The stream socket of the service that rewrites it; without one, refresh() does nothing. */
  readonly service: Address | undefined;
  /** What is looked for, in log messages, and the unit that listens on that socket. */
  readonly subject: string;
  readonly unit: string;
}

/** The minimum delay after an answer or a failed request before the next request, ms. */
const REFRESH_PAUSE_MS = 1000;

/**
 * Creates a resolver that requests a refresh by connecting to the stream socket `service`. The service
 * rewrites the file and closes the connection; no byte is exchanged. Then `resolved` is called with the content
 * of the file.
 */
export function createResolver(
  loop: Loop,
  log: Log,
  { read, service, subject, unit }: ResolverOptions,
  resolved: (answer: Resolution) => void,
): Resolver {
  let next = 0;
  const request: Watch = {
    fd: -1,
    wanted: EPOLLRDHUP,
    mask: -1,
    changed: false,
    ready: () => {
      scheduleClose(loop, request);
      next = loop.now + REFRESH_PAUSE_MS;
      resolved(read());
    },
    refused: (failure) => {
      scheduleClose(loop, request);
      next = loop.now + REFRESH_PAUSE_MS;
      logFailure(service?.text ?? '', failure);
    },
  };
  const logFailure = (path: string, failure: number): void => {
    const isDown = failure === E.ENOENT || failure === E.ECONNREFUSED;
    const message = `cannot ask for ${subject} at ${path} (${errorWords(failure)})`;
    const advice = isDown ? `: systemctl start ${unit}` : '';
    log.failure(
      `failed ask ${failure}`,
      `${message}${advice}`,
      (count) => `${message}, ${count} more time${count === 1 ? '' : 's'} in the last 10 s${advice}`,
    );
  };
  return {
    refresh() {
      if (request.fd >= 0) return true;
      if (service === undefined || loop.now < next) return false;
      const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd >= 0 && connect(fd, service.sockaddr, service.size) === 0) {
        request.fd = fd;
        add(loop, request);
        return request.fd >= 0;
      }
      const failure = errno();
      next = loop.now + REFRESH_PAUSE_MS;
      if (fd >= 0) close(fd);
      // The backlog is full (unix(7)): the service is alive, and busy.
      if (failure !== E.EAGAIN) logFailure(service.text, failure);
      return false;
    },
  };
}

/**
 * Reads `file`. Its first line is "ADDRESS:PORT", which " INTERFACE" may follow, or "! REASON"; its second, if there is one,
 * tells why the part there fails. A missing file is a normal result. A file that cannot be read or parsed is logged.
 */
export function readAddressFile(file: string, log: Log): Resolution {
  try {
    const [line = '', failing = ''] = readFileSync(file, 'utf8').split('\n');
    if (line.startsWith('! ')) return { reason: line.slice(2) };
    return { to: parseTarget(line), ...(failing !== '' && { failing }) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      const message = `the far side's address in ${file} is of no use: ${(error as Error).message}`;
      log.failure('failed file', message, (count) => `${message}; ${count} more times in the last 10 s`);
    }
    return {};
  }
}

function parseTarget(line: string): Address {
  const [, address = line, device] = /^(\S*)(?: (.*))?$/.exec(line) ?? [];
  const to = parseAddress(address);
  return device === undefined ? to : { ...to, device: parseDevice(device) };
}
