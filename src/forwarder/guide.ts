import { readFileSync } from 'node:fs';
import { type Address, parseAddress } from './address.js';
import { parseDevice } from './device.js';
import type { Log } from './log.js';
import { add, closeLater, type Loop, type Watch } from './loop.js';
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
import type { UnixAddress } from './unix.js';

/** What the file of a guide says. Neither is set when it is not there, or cannot be understood. */
export interface Answer {
  /** Where the target is. */
  readonly to?: Address;
  /** Why the other machine could not make its part, for people. */
  readonly reason?: string;
}

/** Knows whom to ask for a target that is on another machine. */
export interface Guide {
  /**
   * Asks for the target to be made anew. Does nothing while a question is open, nor within 1 s after the last answer
   * or attempt: who still has no target then asks again.
   */
  ask(): void;
}

/** How long no question is asked after an answer, or after an attempt that failed, ms. */
const PACE_MS = 1000;

/**
 * A guide that asks by connecting to the stream socket `service`: whoever is behind it writes `file` anew and then
 * closes the connection, not a byte is said. `heard` is called with what the file says then. Without `service`
 * nobody is asked.
 */
export function createGuide(
  loop: Loop,
  log: Log,
  file: string,
  service: UnixAddress | undefined,
  heard: (answer: Answer) => void,
): Guide {
  let next = 0;
  const question: Watch = {
    fd: -1,
    wanted: EPOLLRDHUP,
    mask: -1,
    changed: false,
    ready: () => {
      closeLater(loop, question);
      next = loop.now + PACE_MS;
      heard(readAnswer(file, log));
    },
    refused: (failure) => {
      closeLater(loop, question);
      next = loop.now + PACE_MS;
      tellUnasked(log, service?.text ?? '', failure);
    },
  };
  return {
    ask() {
      if (service === undefined || question.fd >= 0 || loop.now < next) return;
      const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd >= 0 && connect(fd, service.sockaddr, service.size) === 0) {
        question.fd = fd;
        add(loop, question);
        return;
      }
      const failure = errno();
      next = loop.now + PACE_MS;
      if (fd >= 0) close(fd);
      // Its backlog is full (unix(7)): it lives, and is busy.
      if (failure !== E.EAGAIN) tellUnasked(log, service.text, failure);
    },
  };
}

/**
 * Reads the first line of `file`: "ADDRESS:PORT", which may be followed by " INTERFACE", or "! REASON". That the file is not
 * there is an answer too; one that cannot be read or understood is told in `log`.
 */
export function readAnswer(file: string, log: Log): Answer {
  try {
    const [line = ''] = readFileSync(file, 'utf8').split('\n');
    return line.startsWith('! ') ? { reason: line.slice(2) } : { to: parseTarget(line) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      const story = `the far side's address in ${file} is of no use: ${(error as Error).message}`;
      log.failure('file', story, (count) => `${story}; ${count} more times in the last 10 s`);
    }
    return {};
  }
}

function parseTarget(line: string): Address {
  const [, address = line, device] = /^(\S*)(?: (.*))?$/.exec(line) ?? [];
  const to = parseAddress(address);
  return device === undefined ? to : { ...to, device: parseDevice(device) };
}

function tellUnasked(log: Log, path: string, failure: number): void {
  const isDown = failure === E.ENOENT || failure === E.ECONNREFUSED;
  const story = `cannot ask for the far side at ${path} (${errorWords(failure)})`;
  const advice = isDown ? ': systemctl start wormhole-far.socket' : '';
  log.failure(
    `ask ${failure}`,
    `${story}${advice}`,
    (count) => `${story}, ${count} more time${count === 1 ? '' : 's'} in the last 10 s${advice}`,
  );
}
