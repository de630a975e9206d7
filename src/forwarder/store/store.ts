import type { Log } from '../log.js';
import type { Loop } from '../loop.js';
import type { Pipe, Pool } from '../pipes.js';
import { close, errorWords } from '../syscalls.js';
import { createTimer, start } from '../timers.js';
import {
  appendPipe,
  closeGeneration,
  type Generation,
  isDropped,
  type Writer,
  writeGeneration,
} from './generation.js';
import type { DescriptorStore } from './manager.js';
import { type Memory, type Notes, takeRecord } from './memory.js';

/*
 * Sessions that are older than a second outlive the process, however it ends: the service manager has duplicates of their
 * sockets and of the pipes that hold their bytes, and passes them to the next process (sd_notify(3), FDSTORE=1).
 *
 * A snapshot stores a new generation of all of them, and then has the service manager drop the one before. It is taken when
 * the first session that has not been stored is nearly a second old, and it includes all that are not very young. So a
 * session of a usual short connection is never stored, and costs nothing.
 *
 * close(2) alone does not end a session that is stored, because the service manager has a duplicate. See end.ts.
 */

/** The age at which a session has to be in a snapshot, ms; and the age from which on it is included in one. */
const LATEST_AGE_MS = 900;
const EARLIEST_AGE_MS = 400;

/** How soon the service manager drops the sockets of sessions that have ended, ms. */
const DROP_MS = 500;

/** The least delay between two snapshots that something waits for, ms. */
const URGENT_MS = 20;

/** How long after a snapshot the one before is dropped, ms: by then the service manager has read the message, or does not run. */
const SETTLED_MS = 200;

/** The delay before a snapshot is repeated that the service manager had no room for, or that failed, ms. */
const BUSY_MS = 50;
const FAILED_MS = 10_000;

/** The name of a generation in the store of the service manager. */
const PREFIX = 'sessions-';

/** A session that can be stored. */
export interface Storable {
  /** When it was opened, ms, on the clock of the loop. */
  readonly openedAt: number;
  /** Its notes, from the first snapshot on that it is a part of. */
  stored: Stored | undefined;
}

/** The notes about a stored session. */
export interface Stored extends Notes {
  readonly store: Store;
}

/** How sessions of a kind are stored. */
export interface Kind<Session extends Storable> {
  /** Identifies the kind in the notes. */
  readonly code: number;
  /** Prepares a session for being stored and notes what is known of it. */
  prepare(session: Session, stored: Stored): void;
  /** Its sockets. Called for each snapshot. */
  descriptors(session: Session): number[];
  /** The pipes that hold its bytes, or may do so. */
  pipes(session: Session): Pipe[];
}

/** The sessions of a kind. */
export interface Register<Session extends Storable> {
  /** To be called for each session, the oldest first. */
  opened(session: Session): void;
  ended(session: Session): void;
}

/** The sessions that are stored. */
export interface Store {
  /** Registers a kind of sessions. */
  register<Session extends Storable>(kind: Kind<Session>): Register<Session>;
  /** Sees to it that a pipe is stored. Returns whether it is. */
  protect(pipe: Pipe): boolean;
  /** Takes a snapshot soon, because a stored session has a socket that is not stored. */
  request(): void;
  /** Takes a snapshot of all sessions now. Returns whether the service manager has got it. */
  storeAll(): boolean;
}

/** What a store is created with. */
export interface StoreOptions {
  readonly loop: Loop;
  readonly log: Log;
  readonly pool: Pool;
  readonly manager: DescriptorStore;
  readonly memory: Memory;
  /** The number of the newest generation that the service manager has, or 0. */
  readonly newest: number;
  /** The names of generations that it has. They are dropped when there is a new one. */
  readonly inherited: readonly string[];
  /** Which thread this is; 0 is the first. */
  readonly thread: number;
}

/** The number of the generation that the service manager has under this name; undefined if it is none. */
export function generationOf(name: string): number | undefined {
  return name.startsWith(PREFIX) ? Number(name.slice(name.lastIndexOf('-') + 1)) : undefined;
}

/** The thread that has stored what the service manager has under the name of a generation. The first one is 0. */
export function threadOf(name: string): number {
  return Number(/^sessions-(\d+)-/.exec(name)?.[1] ?? 0);
}

/** The name of a generation in the store of the service manager. Each thread has a store of its own. */
export function generationName(number: number, thread: number): string {
  return `${PREFIX}${thread === 0 ? '' : `${thread}-`}${number}`;
}

interface Registered {
  readonly kind: Kind<Storable>;
  /** Sessions that are in no stored generation, the oldest first. */
  readonly young: Set<Storable>;
  /** Sessions that are in the newest generation. */
  readonly kept: Set<Storable>;
  /** Sessions of `young` that are in the generation which is being written. */
  joining: Storable[];
}

/** Creates a store that has no sessions yet. */
export function createStore(options: StoreOptions): Store {
  const { loop, log, pool, manager, memory, thread } = options;
  const registers: Registered[] = [];
  /** Records of sessions that have ended, which the newest generation still mentions. */
  const retired: number[] = [];
  /** The generation that holds all that `kept` says, and those that are to be dropped. */
  let generation: Generation | undefined;
  const superseded: Generation[] = [];
  let inherited = options.inherited;
  let next = options.newest + 1;
  let changed = false;
  let lastAt = Number.NEGATIVE_INFINITY;
  /** No snapshot is taken before this time, ms. */
  let notBefore = Number.NEGATIVE_INFINITY;

  const schedule = (due: number): void => {
    const at = Math.max(due, notBefore);
    if (timer.index < 0 || timer.due > at) start(loop.timers, timer, at);
  };
  /** Takes the next snapshot in so many ms, and none before. */
  const tryAgainIn = (ms: number): void => {
    notBefore = loop.now + ms;
    changed = true;
    schedule(notBefore);
  };
  const scheduleYoung = (): void => {
    for (const { young } of registers) {
      for (const { openedAt } of young) {
        schedule(openedAt + LATEST_AGE_MS);
        break;
      }
    }
  };
  const timer = createTimer(() => {
    if (loop.now < notBefore) {
      schedule(notBefore);
      return;
    }
    const isDue = registers.some(({ young }) => {
      for (const { openedAt } of young) return openedAt + EARLIEST_AGE_MS <= loop.now;
      return false;
    });
    if (changed || isDue) takeSnapshot(loop.now - EARLIEST_AGE_MS);
    scheduleYoung();
    if (changed) schedule(loop.now + DROP_MS);
  });

  const settle = createTimer(() => {
    if (generation !== undefined && isDropped(generation)) {
      tryAgainIn(FAILED_MS);
      const message =
        'systemd does not keep the sessions (FileDescriptorStoreMax=, or it has no descriptors left)';
      log.failure(
        'failed dropped',
        `${message}; they are reset if the forwarder is killed; tried again in ${FAILED_MS / 1000} s`,
        (count) => `${message}, ${count} more times`,
      );
      return;
    }
    dropSuperseded();
  });
  const dropSuperseded = (): void => {
    for (const name of inherited) manager.remove(name);
    inherited = [];
    for (const old of superseded.splice(0)) {
      manager.remove(generationName(old.number, thread));
      closeGeneration(old);
    }
  };

  /** Takes records for the sessions that have been opened by `openedBy`. */
  const prepare = (register: Registered, openedBy: number): void => {
    const { kind, young } = register;
    register.joining = [];
    for (const session of young) {
      if (session.openedAt > openedBy) break;
      if (session.stored === undefined) {
        const record = takeRecord(memory, kind.code, session.openedAt);
        if (record === 0) {
          // There are more than can have notes. It ends with the process.
          young.delete(session);
          continue;
        }
        session.stored = { store, memory, record };
        kind.prepare(session, session.stored);
      }
      register.joining.push(session);
    }
  };

  /** Writes all sessions and pipes. Returns the pipes. */
  const write = (writer: Writer): Pipe[] => {
    const pipes: Pipe[] = [...pool.large, ...pool.small];
    for (const { kind, kept, joining } of registers) {
      for (const session of [...kept, ...joining]) {
        if (session.stored === undefined) continue;
        writer.addSession(session.stored.record, kind.descriptors(session));
        pipes.push(...kind.pipes(session));
      }
    }
    for (const { id, out } of pipes) writer.addPipe(id, out);
    return pipes;
  };

  const takeSnapshot = (openedBy: number): boolean => {
    lastAt = loop.now;
    for (const register of registers) prepare(register, openedBy);
    if (registers.every(({ kept, joining }) => kept.size + joining.length === 0)) {
      if (generation !== undefined) superseded.push(generation);
      generation = undefined;
      dropSuperseded();
      finish();
      return true;
    }
    const writer = writeGeneration(next, memory);
    const pipes = write(writer);
    const written = writer.finish();
    if (typeof written === 'number') {
      tryAgainIn(FAILED_MS);
      const message = `the sessions cannot be stored (${errorWords(written)})`;
      log.failure(
        'failed store',
        `${message}; new ones are reset if the forwarder is killed; tried again in ${FAILED_MS / 1000} s`,
        (count) => `${message}, ${count} more times`,
      );
      return false;
    }
    const { generation: newest, receivers } = written;
    const isTaken = manager.store(generationName(newest.number, thread), receivers);
    for (const receiver of receivers) close(receiver);
    if (!isTaken) {
      closeGeneration(newest);
      tryAgainIn(BUSY_MS);
      return false;
    }
    next += 1;
    if (generation !== undefined) superseded.push(generation);
    generation = newest;
    for (const pipe of pipes) pipe.generation = newest.number;
    for (const { young, kept, joining } of registers) {
      for (const session of joining) {
        young.delete(session);
        kept.add(session);
      }
    }
    finish();
    start(loop.timers, settle, loop.now + SETTLED_MS);
    return true;
  };
  const finish = (): void => {
    changed = false;
    memory.free.push(...retired.splice(0));
  };

  const protect = (pipe: Pipe): boolean => {
    if (generation === undefined) return false;
    if (pipe.generation === generation.number) return true;
    if (appendPipe(generation, pipe.id, pipe.out) !== 0) return false;
    pipe.generation = generation.number;
    return true;
  };

  const store: Store = {
    register(kind) {
      const young = new Set<Storable>();
      const kept = new Set<Storable>();
      registers.push({ kind, young, kept, joining: [] });
      return {
        opened(session) {
          young.add(session);
          // One that is old already waits for others, too.
          if (timer.index < 0) schedule(Math.max(session.openedAt + LATEST_AGE_MS, lastAt + DROP_MS));
        },
        ended(session) {
          young.delete(session);
          if (session.stored === undefined) return;
          retired.push(session.stored.record);
          if (!kept.delete(session)) return;
          changed = true;
          schedule(loop.now + DROP_MS);
        },
      };
    },
    // The queue of the generation may be full. That of a new one is not.
    protect: (pipe) =>
      protect(pipe) || (loop.now >= notBefore && takeSnapshot(loop.now - EARLIEST_AGE_MS) && protect(pipe)),
    request() {
      changed = true;
      schedule(Math.max(loop.now, lastAt + URGENT_MS));
    },
    storeAll: () => takeSnapshot(Number.POSITIVE_INFINITY),
  };
  return store;
}
