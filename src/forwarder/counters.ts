import { fstatSync, readSync, writeSync } from 'node:fs';
import koffi from 'koffi';
import type { Log } from './log.js';
import { errno, errorWords, MAP_FAILED, MAP_SHARED, mmap, PROT_READ, PROT_WRITE } from './syscalls.js';

/*
 * What the forwarder counts, in memory that it shares with a file. Counting costs no system call, a reader of the file sees the
 * figures of this moment, and they outlive the process however it ends.
 *
 * The file describes itself, so its reader may be of another version. It begins with three lines of text: the format, the names
 * of the figures, and the names of the texts. The figures are 64-bit floating point numbers in the byte order of the machine,
 * from byte 1024 on. The texts are 512 bytes each, ended by a zero byte, from byte 3072 on.
 */

const FORMAT = 'wormhole counters 1';
export const SIZE = 4096;
const FIGURES_AT = 1024;
const TEXTS_AT = 3072;
const TEXT_SIZE = 512;

/** The upper bounds, ms, of the buckets that {@link observeDial} counts in. The last bucket has none. */
const DIAL_BOUNDS = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, Number.POSITIVE_INFINITY];

const FIGURES = [
  /** Open sessions; means nothing while no forwarder runs. */
  'open',
  /** The most sessions that may be open. */
  'limit',
  /** Sessions that the target has accepted. */
  'served',
  /** Clients that were closed because the target was not reached. */
  'unserved',
  /** Clients that were closed because the link is not for them. */
  'denied',
  /** Clients that were refused because of a limit: of connections, of those of one source, or of new ones a second. */
  'refused',
  /** Sessions that were reset because no byte had moved for a time. */
  'timedOut',
  /** Bytes read from clients, and from the target. */
  'bytesFromClients',
  'bytesFromTarget',
  /** Datagrams, and messages of unix sockets, from clients and from the target. */
  'datagramsFromClients',
  'datagramsFromTarget',
  /** Sessions that a client, or the target, has ended with a reset. */
  'resetsByClient',
  'resetsByTarget',
  /** Clients for which the first attempt to connect failed, and how long all of them waited, ms. */
  'held',
  'heldMs',
  /** How long all successful attempts to connect took, ms. */
  'dialMs',
  /** Clients that were closed since the target last accepted one; when the first and the last were, ms since 1970. */
  'failing',
  'failingSince',
  'failedAt',
  /** The descriptor of its notes about sessions (store/memory.ts), for those who look at it from outside; 0 if it has none. */
  'notes',
  /** When the process ends if no client comes before, ms since 1970; 0 if it does not, or has ended. Means nothing while a session is open. */
  'idleAt',
] as const;

const NAMES = [...FIGURES, ...DIAL_BOUNDS.map((bound) => `dial<=${bound}`)];

/** Why the last client was closed: "127.0.0.1:3306 refused (ECONNREFUSED: connection refused)". */
const TEXTS = ['failure'] as const;

const HEADER = [FORMAT, NAMES.join(' '), TEXTS.join(' '), ''].join('\n');

/** The figures of a link, each a property that may be read and written. */
export type Counters = Record<(typeof FIGURES)[number], number> & {
  /** Counts a successful attempt to connect that took `ms`. */
  observeDial(ms: number): void;
  /** Counts a client that was closed because of `failure`, a text for people. */
  fail(failure: string): void;
};

/**
 * Creates counters that go on from what the file open at `fd` holds. Without `fd`, or if the file cannot be used, which is
 * logged, they are in the memory of this process alone.
 */
export function createCounters(fd: number | undefined, log: Log): Counters {
  const counters = countIn(fd === undefined ? undefined : mapCounters(fd, log));
  counters.open = 0;
  counters.idleAt = 0;
  return counters;
}

/** The figures in memory that is laid out as such a file, in the order of their names. */
export function figuresIn(memory: ArrayBufferLike): Float64Array {
  return new Float64Array(memory, FIGURES_AT, NAMES.length);
}

/** Counters in memory that is laid out as such a file, or in new memory of this process. */
export function countIn(memory: ArrayBufferLike = new ArrayBuffer(SIZE)): Counters {
  const values = figuresIn(memory);
  const text = new Uint8Array(memory, TEXTS_AT, TEXT_SIZE);
  const counters = {
    observeDial(ms: number) {
      const bucket = FIGURES.length + DIAL_BOUNDS.findIndex((bound) => ms <= bound);
      values[bucket] = (values[bucket] as number) + 1;
      counters.dialMs += ms;
    },
    fail(failure: string) {
      const now = Date.now();
      counters.unserved += 1;
      counters.failing += 1;
      counters.failedAt = now;
      if (counters.failing === 1) counters.failingSince = now;
      // A reader sees an empty text, and never half of one.
      text[0] = 0;
      const bytes = Buffer.from(failure).subarray(0, TEXT_SIZE - 1);
      text.set(bytes.subarray(1), 1);
      text[bytes.length] = 0;
      text[0] = bytes[0] ?? 0;
    },
  } as Counters;
  for (const [index, name] of FIGURES.entries()) {
    Object.defineProperty(counters, name, {
      configurable: true,
      get: () => values[index],
      set: (value: number) => {
        values[index] = value;
      },
    });
  }
  return counters;
}

/** Shares memory with the file open at `fd`; undefined if the file cannot be used, which is logged. */
export function mapCounters(fd: number, log: Log): ArrayBuffer | undefined {
  try {
    prepare(fd);
    const address = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (address === MAP_FAILED) throw new Error(errorWords(errno()));
    return koffi.view(address, SIZE);
  } catch (error) {
    log.error(
      'failed',
      `the file of its counters cannot be used: ${(error as Error).message}; it counts from zero`,
    );
    return undefined;
  }
}

/**
 * Gives a file the current format and its full size. It keeps the figures that it has from another version. All of it is
 * written, because a hole that the file system has no room for would kill the process when it is first counted in.
 */
function prepare(fd: number): void {
  if (!fstatSync(fd).isFile()) throw new Error(`descriptor ${fd} is not a file`);
  const old = Buffer.alloc(SIZE);
  const size = readSync(fd, old, 0, SIZE, 0);
  if (size === SIZE && old.subarray(0, HEADER.length + 1).equals(Buffer.from(`${HEADER}\0`))) return;
  const fresh = Buffer.alloc(SIZE);
  fresh.write(HEADER);
  const [format, names = ''] = old.toString('latin1', 0, FIGURES_AT).split('\n');
  const former = format === FORMAT && size === SIZE ? names.split(' ') : [];
  for (const [index, name] of NAMES.entries()) {
    const at = former.indexOf(name);
    if (at >= 0) old.copy(fresh, FIGURES_AT + 8 * index, FIGURES_AT + 8 * at, FIGURES_AT + 8 * at + 8);
  }
  writeSync(fd, fresh, 0, SIZE, 0);
}
