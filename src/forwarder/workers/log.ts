import type { Event } from '../journal.js';
import type { Kind, Log } from '../log.js';
import { MOST_TEXT } from './channel.js';

/*
 * A worker has the first thread print its lines, which is the one that counts repeated failures. At the end of a round it sends what
 * has been logged in it, failures of a kind as one.
 */

/** What stands for the number of repetitions in a line about many: no line has it otherwise. */
const COUNT = 2_000_000_011;

/** The most characters of a line that is sent. Four of them, with each character escaped, fit into a message. */
const MOST_LINE = 1200;

/** A line, or failures of a kind: the line about the first of them, and those about one and about {@link COUNT} more. */
type Entry =
  | { level: 'info' | 'error'; event: Event; line: string }
  | { level: 'failure'; kind: Kind; line: string; one: string; many: string; count: number };

/** The log of a worker. */
export interface WorkerLog extends Log {
  /** Calls `send` with what has been logged since the last time, as text for printSent(), in pieces that a message can hold. */
  sendTo(send: (text: string) => void): void;
}

export function createWorkerLog(): WorkerLog {
  let entries: Entry[] = [];
  const failures = new Map<string, Entry & { level: 'failure' }>();
  const cut = (line: string): string => line.slice(0, MOST_LINE);
  return {
    info: (event, line) => entries.push({ level: 'info', event, line: cut(line) }),
    error: (event, line) => entries.push({ level: 'error', event, line: cut(line) }),
    failure(kind, line, summary) {
      const known = failures.get(kind);
      if (known !== undefined) {
        known.count += 1;
        return;
      }
      const [one, many] = [summary(1), summary(COUNT)].map(cut) as [string, string];
      const entry = {
        level: 'failure' as const,
        kind: cut(kind) as Kind,
        line: cut(line),
        one,
        many,
        count: 1,
      };
      failures.set(kind, entry);
      entries.push(entry);
    },
    flush() {},
    sendTo(send) {
      if (entries.length === 0) return;
      let piece = '';
      for (const entry of entries) {
        const text = `${JSON.stringify(entry)}\n`;
        if (Buffer.byteLength(piece) + Buffer.byteLength(text) > MOST_TEXT) {
          send(piece);
          piece = '';
        }
        piece += text;
      }
      send(piece);
      entries = [];
      failures.clear();
    },
  };
}

/** Prints what a worker has logged. */
export function printSent(log: Log, text: string): void {
  for (const line of text.split('\n')) {
    if (line !== '') print(log, JSON.parse(line) as Entry);
  }
}

function print(log: Log, entry: Entry): void {
  if (entry.level !== 'failure') {
    log[entry.level](entry.event, entry.line);
    return;
  }
  const summary = (count: number): string =>
    count === 1 ? entry.one : entry.many.replaceAll(`${COUNT}`, `${count}`);
  for (let n = 0; n < entry.count; n++) log.failure(entry.kind, entry.line, summary);
}
