import { writeSync } from 'node:fs';
import { createJournal, type Entry, type Event, isJournal, oneLine, type SendEntry } from './journal.js';
import { POLLOUT, pinned, poll } from './syscalls.js';
import { createTimer, start, type Timers } from './timers.js';

/** How long repetitions of a failure are counted before they are logged, ms. */
const QUIET_MS = 10_000;

/** How often lines are retried that the journal has not taken, ms. */
const RETRY_MS = 1000;

/** The most lines kept while the journal takes none. Further ones are counted. */
const MOST_KEPT = 100;

/** What failures are counted together: those with the same event, and the same detail if there is one. */
export type Kind = Event | `${Event} ${string}`;

/** The log of the forwarder. Each line has a priority, as in sd-daemon(3), and tells of an event. */
export interface Log {
  info(event: Event, line: string): void;
  error(event: Event, line: string): void;
  /**
   * Logs a failure that may happen to very many clients at once. The first of its `kind`, which begins with its event, is logged with
   * `line` at once. Those of the next 10 s are counted and logged in one line, `summary(count)`, and so on
   * until 10 s pass without any.
   */
  failure(kind: Kind, line: string, summary: (count: number) => string): void;
  /** Logs what has only been counted so far. To be called before the process exits. */
  flush(): void;
}

interface Repeated {
  count: number;
  summary: (count: number) => string;
}

/**
 * Creates a log whose lines begin with "link `link`: ". They go to the journal with `send`, by default if standard error leads there, and
 * otherwise to standard error. It uses the clock of `timers`.
 */
export function createLog(link: string, timers: Timers, send = journalOf(link)): Log {
  const repeated = new Map<Kind, Repeated>();
  const output = createOutput(timers, {
    send,
    lost: (count) => ({
      priority: 4,
      event: 'failed',
      message: `link ${link}: ${count === 1 ? '1 line was' : `${count} lines were`} lost while the journal took none`,
    }),
  });
  const print = (priority: number, event: Event, line: string): void =>
    output({ priority, event, message: `link ${link}: ${line}` });
  const summarize = (kind: Kind, failures: Repeated): boolean => {
    if (failures.count === 0) return repeated.delete(kind);
    print(4, eventOf(kind), failures.summary(failures.count));
    failures.count = 0;
    return false;
  };
  return {
    info: (event, line) => print(6, event, line),
    error: (event, line) => print(3, event, line),
    failure(kind, line, summary) {
      const known = repeated.get(kind);
      if (known !== undefined) {
        known.count += 1;
        known.summary = summary;
        return;
      }
      print(4, eventOf(kind), line);
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

/** How entries get to the journal; undefined if standard error leads elsewhere. */
function journalOf(link: string): SendEntry | undefined {
  return isJournal(process.env.JOURNAL_STREAM) ? createJournal(`wormhole-${link}`) : undefined;
}

/** The first word of a kind. */
function eventOf(kind: Kind): Event {
  return kind.split(' ', 1)[0] as Event;
}

/**
 * Prints the reason why the program cannot start, as an error of sd-daemon(3), of `link` if that is known. Blocks if the reader is slow.
 */
export function printFatal(message: string, link?: string): void {
  const entry: Entry = { priority: 3, event: 'failed', message };
  const send = link === undefined ? undefined : journalOf(link);
  if (send?.(entry) === 'sent') return;
  try {
    writeSync(2, lineOf(entry));
  } catch {
    // Standard error is closed or full. Only the exit status is left to tell.
  }
}

interface OutputOptions {
  /** Sends an entry to the journal; undefined if standard error leads elsewhere. */
  readonly send: SendEntry | undefined;
  /** The entry that tells how many others were lost. */
  readonly lost: (count: number) => Entry;
}

/**
 * Prints entries without ever blocking, because a stuck journald would stop the relay: in the journal, or on standard error if the
 * journal cannot be reached. Entries that find no room are kept and retried. Those that there is no room to keep are counted and
 * reported with `lost`.
 */
function createOutput(timers: Timers, { send, lost }: OutputOptions): (entry: Entry) => void {
  const kept: Entry[] = [];
  let dropped = 0;
  const isTaken = (entry: Entry): boolean => {
    const sent = send === undefined ? 'unavailable' : send(entry);
    if (sent !== 'unavailable') return sent === 'sent';
    if (!hasRoom()) return false;
    print(lineOf(entry));
    return true;
  };
  const offer = (): void => {
    while (kept[0] !== undefined && isTaken(kept[0])) kept.shift();
    if (kept.length === 0 && dropped > 0 && isTaken(lost(dropped))) dropped = 0;
    if (kept.length > 0 || dropped > 0) start(timers, retry, performance.now() + RETRY_MS);
  };
  const retry = createTimer(offer);
  return (entry) => {
    if (kept.length < MOST_KEPT) kept.push(entry);
    else dropped += 1;
    if (retry.index < 0) offer();
  };
}

/** An entry as a line of standard error, with its priority as sd-daemon(3) has it. */
function lineOf({ priority, message }: Entry): string {
  return `<${priority}>${oneLine(message)}\n`;
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
