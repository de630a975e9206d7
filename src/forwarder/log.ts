import { writeSync } from 'node:fs';
import { POLLOUT, pinned, poll } from './syscalls.js';
import { createTimer, start, type Timers } from './timers.js';

/** How long repetitions of a failure are counted before they are logged, ms. */
const QUIET_MS = 10_000;

/** How often lines are retried that the journal has not taken, ms. */
const RETRY_MS = 1000;

/** The most lines kept while the journal takes none. Further ones are counted. */
const MOST_KEPT = 100;

/** The log of the forwarder. Its lines carry the priorities of sd-daemon(3). */
export interface Log {
  info(line: string): void;
  error(line: string): void;
  /**
   * Logs a failure that may happen to very many clients at once. The first of its `kind` is logged with
   * `line` at once. Those of the next 10 s are counted and logged in one line, `summary(count)`, and so on
   * until 10 s pass without any.
   */
  failure(kind: string, line: string, summary: (count: number) => string): void;
  /** Logs what has only been counted so far. To be called before the process exits. */
  flush(): void;
}

interface Repeated {
  count: number;
  summary: (count: number) => string;
}

/** Creates a log on standard error whose lines begin with "link `link`: ". It uses the clock of `timers`. */
export function createLog(link: string, timers: Timers): Log {
  const repeated = new Map<string, Repeated>();
  const output = createOutput(timers, (count) => {
    const lines = count === 1 ? '1 line was' : `${count} lines were`;
    return `<4>link ${link}: ${lines} lost while the journal took none\n`;
  });
  const print = (priority: number, line: string): void => output(`<${priority}>link ${link}: ${line}\n`);
  const summarize = (kind: string, failures: Repeated): boolean => {
    if (failures.count === 0) return repeated.delete(kind);
    print(4, failures.summary(failures.count));
    failures.count = 0;
    return false;
  };
  return {
    info: (line) => print(6, line),
    error: (line) => print(3, line),
    failure(kind, line, summary) {
      const known = repeated.get(kind);
      if (known !== undefined) {
        known.count += 1;
        known.summary = summary;
        return;
      }
      print(4, line);
      const failures = { count: 0, summary };
      repeated.set(kind, failures);
      const summaryTimer = createTimer(() => {
        if (!summarize(kind, failures)) start(timers, summaryTimer, performance.now() + QUIET_MS);
      });
      start(timers, summaryTimer, performance.now() + QUIET_MS);
    },
    flush() {
      for (const [kind, failures] of repeated) summarize(kind, failures);
    },
  };
}

/**
 * Prints the reason why the program cannot start, as an error of sd-daemon(3). Blocks if the reader is slow.
 */
export function printFatal(line: string): void {
  try {
    writeSync(2, `<3>${line}\n`);
  } catch {
    // Standard error is closed or full. Only the exit status is left to tell.
  }
}

/**
 * Prints lines on standard error without ever blocking, because a stuck journald would stop the relay. Lines
 * that it does not take are kept and retried. Lines that there is no room for are counted and reported with
 * `lost`.
 */
function createOutput(timers: Timers, lost: (count: number) => string): (line: string) => void {
  const kept: string[] = [];
  let dropped = 0;
  const offer = (): void => {
    while (kept.length > 0 && hasRoom()) print(kept.shift() as string);
    if (kept.length === 0 && dropped > 0 && hasRoom()) {
      print(lost(dropped));
      dropped = 0;
    }
    if (kept.length > 0 || dropped > 0) start(timers, retry, performance.now() + RETRY_MS);
  };
  const retry = createTimer(offer);
  return (line) => {
    if (kept.length < MOST_KEPT) kept.push(line);
    else dropped += 1;
    if (retry.index < 0) offer();
  };
}

/**
 * struct pollfd of standard error: the descriptor, the requested events in 16 bits, the returned events in 16
 * bits (poll(2)).
 */
const standardError = pinned(8);
standardError.words[0] = 2;
standardError.bytes.writeInt16LE(POLLOUT, 4);

/**
 * Whether writing a line to standard error does not block. A stream socket is writable while three quarters
 * of its buffer are free, a pipe while it has a free page (unix_writable() and pipe_poll() in the kernel).
 * Writing to a descriptor that is closed or has lost its reader fails, and does not block either.
 */
function hasRoom(): boolean {
  return poll(standardError.address, 1, 0) > 0;
}

function print(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // The reader is gone (EPIPE) or its disk is full (ENOSPC), and there is nowhere else to report it.
  }
}
