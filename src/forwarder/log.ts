import { writeSync } from 'node:fs';
import { POLLOUT, pinned, poll } from './syscalls.js';
import { start, type Timers, timer } from './timers.js';

/** How long the same failure is only counted after it has been told, ms. */
const QUIET_MS = 10_000;

/** How often lines are offered again that the journal has not taken, ms. */
const RETRY_MS = 1000;

/** Lines kept while the journal takes none. Further ones are counted. */
const MOST_KEPT = 100;

/** Where the forwarder says what a person should know. Lines carry sd-daemon(3) priorities. */
export interface Log {
  info(line: string): void;
  error(line: string): void;
  /**
   * Tells of something that may happen to very many clients at once. The first of its `kind` is told with `line`
   * at once; those of the next 10 s are counted and told in one line, `summary(count)`, and so on until 10 s
   * pass without any.
   */
  failure(kind: string, line: string, summary: (count: number) => string): void;
  /** Tells now what was only counted so far: before the process ends. */
  flush(): void;
}

interface Repeated {
  count: number;
  summary: (count: number) => string;
}

/** A log on standard error whose lines begin with "link `link`: ". Its clock is that of `timers`. */
export function createLog(link: string, timers: Timers): Log {
  const repeated = new Map<string, Repeated>();
  const output = createOutput(timers, (count) => {
    const lines = count === 1 ? '1 line was' : `${count} lines were`;
    return `<4>link ${link}: ${lines} lost while the journal took none\n`;
  });
  const print = (priority: number, line: string): void => output(`<${priority}>link ${link}: ${line}\n`);
  const tell = (kind: string, failures: Repeated): boolean => {
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
      const quiet = timer(() => {
        if (!tell(kind, failures)) start(timers, quiet, performance.now() + QUIET_MS);
      });
      start(timers, quiet, performance.now() + QUIET_MS);
    },
    flush() {
      for (const [kind, failures] of repeated) tell(kind, failures);
    },
  };
}

/** Prints the reason why the program cannot start as an error of sd-daemon(3), waiting for the reader if it is slow. */
export function printFatal(line: string): void {
  try {
    writeSync(2, `<3>${line}\n`);
  } catch {
    // Standard error is closed or full: the exit status is all that is left to say.
  }
}

/**
 * Prints lines on standard error without ever waiting for its reader: a journald that is stuck would stop the relay.
 * What it does not take is kept and offered again; what there is no room for is counted and told with `lost`.
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
  const retry = timer(offer);
  return (line) => {
    if (kept.length < MOST_KEPT) kept.push(line);
    else dropped += 1;
    if (retry.place < 0) offer();
  };
}

/** struct pollfd of standard error: the descriptor, the events asked for in 16 bits, those that happened (poll(2)). */
const standardError = pinned(8);
standardError.words[0] = 2;
standardError.bytes.writeInt16LE(POLLOUT, 4);

/**
 * Whether standard error takes a line without making us wait: a stream socket is writable while three quarters of its
 * buffer are free, a pipe while it has a free page (unix_writable() and pipe_poll() in the kernel). A descriptor that is
 * closed or has lost its reader does not make us wait either.
 */
function hasRoom(): boolean {
  return poll(standardError.address, 1, 0) > 0;
}

function print(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // The reader is gone (EPIPE) or its disk is full (ENOSPC), and there is no other place to tell it.
  }
}
