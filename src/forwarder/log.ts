import { writeSync } from 'node:fs';
import { start, type Timers, timer } from './timers.js';

/** How long the same failure is only counted after it has been told, ms. */
const QUIET_MS = 10_000;

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
  const warning = (line: string): void => write(4, `link ${link}: ${line}`);
  const tell = (kind: string, failures: Repeated): boolean => {
    if (failures.count === 0) return repeated.delete(kind);
    warning(failures.summary(failures.count));
    failures.count = 0;
    return false;
  };
  return {
    info: (line) => write(6, `link ${link}: ${line}`),
    error: (line) => write(3, `link ${link}: ${line}`),
    failure(kind, line, summary) {
      const known = repeated.get(kind);
      if (known !== undefined) {
        known.count += 1;
        known.summary = summary;
        return;
      }
      warning(line);
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

/** Writes one line to standard error with an sd-daemon(3) priority: 3 error, 4 warning, 6 information. */
export function write(priority: 3 | 4 | 6, line: string): void {
  try {
    writeSync(2, `<${priority}>${line}\n`);
  } catch {
    // Nobody reads us any more (EPIPE) or the reader is stuck (EAGAIN): the connections matter more.
  }
}
