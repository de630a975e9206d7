import { env } from 'node:process';
import type { Log } from '../log.js';
import type { Loop } from '../loop.js';
import type { Pool } from '../pipes.js';
import { close, errno, errorWords, poll } from '../syscalls.js';
import { createTimer, start } from '../timers.js';
import { openDescriptorStore } from './manager.js';
import { createMemory, type Memory, type Notes, noteEarlyDeaths, noteTakenOver } from './memory.js';
import {
  EARLY_MS,
  type Inheritance,
  logLost,
  type PassedDescriptor,
  readInheritance,
  resetInherited,
} from './recover.js';
import { createStore, type Store, threadOf } from './store.js';

/** How often the last snapshot is tried before the process exits, and the delay in between, ms. */
const LAST_TRIES = 20;
const LAST_PAUSE_MS = 50;

/** What an earlier process has left of a session. */
export interface Remains {
  readonly notes: Notes;
  readonly descriptors: readonly number[];
  /** The ends for reading of the pipes, by number. The one who uses a pipe removes it. */
  readonly pipes: Map<number, number>;
}

/**
 * Continues a session. Returns false if there is no reason to, and has closed its descriptors then. Throws an Error if it is impossible;
 * then its descriptors are still open, and nothing watches them.
 */
export type Resume = (remains: Remains) => boolean;

/** How sessions outlive the process. */
export interface Survival {
  /** The descriptor of the notes about sessions; 0 if there are none. */
  readonly notes: number;
  /** Undefined if the service manager keeps nothing. */
  readonly store: Store | undefined;
  /** Continues the sessions of an earlier process, each by the function for its kind. Returns how many are continued. */
  resume(byKind: Readonly<Record<number, Resume>>): number;
  /** Stores all sessions before the process exits. Returns whether it did. */
  keepAll(): boolean;
}

export interface SurvivalOptions {
  readonly loop: Loop;
  readonly log: Log;
  readonly pool: Pool;
  /** What the service manager has passed of its store. */
  readonly stored: readonly PassedDescriptor[];
  /** The most sessions that can be stored. */
  readonly maxSessions: number;
  /** Which thread this is; 0 is the first. */
  readonly thread: number;
}

/** Opens the store of sessions and reads what an earlier process has put into it. */
export function openStore({ stored, maxSessions, ...options }: SurvivalOptions): Survival {
  const { loop, log } = options;
  // A process with other threads may have stored them.
  const threads = [...new Set(stored.map(({ name }) => threadOf(name)))];
  const inherited = threads.map((thread) =>
    readInheritance(
      stored.filter(({ name }) => threadOf(name) === thread),
      log,
    ),
  );
  const names = inherited.flatMap((inheritance) => inheritance.names);
  const problem = inherited.find((inheritance) => inheritance.problem !== undefined)?.problem;
  // A process that has died right after it had taken them over has stored them under the names of its own threads.
  if (problem !== undefined && inherited.every((inheritance) => inheritance.memory === undefined))
    logLost(log, problem);
  const manager = openDescriptorStore(env, loop.timers);
  const memory = manager === undefined ? undefined : createMemory(maxSessions);
  if (manager !== undefined && memory === undefined) {
    log.error(
      'failed',
      `no memory for notes about sessions (${errorWords(errno())}); they are reset if the forwarder is killed`,
    );
  }
  const store =
    manager === undefined || memory === undefined
      ? undefined
      : createStore({
          ...options,
          manager,
          memory,
          newest: Math.max(0, ...inherited.map(({ newest }) => newest)),
          inherited: names,
        });
  return {
    notes: memory?.fd ?? 0,
    store,
    resume(byKind) {
      if (names.length === 0) return 0;
      if (memory !== undefined) countDeaths(memory, Math.max(...inherited.map(({ deaths }) => deaths)), loop);
      const counts = inherited.map((inheritance) => resumeAll(inheritance, byKind, log));
      store?.storeAll();
      // What this process does from now on is not in what its predecessor has stored. If it is killed before the service manager
      // has got its own, the sessions are reset.
      for (const { memory } of inherited) if (memory !== undefined) noteTakenOver(memory);
      return counts.reduce((sum, count) => sum + count, 0);
    },
    keepAll() {
      for (let tries = 0; tries < LAST_TRIES; tries++) {
        if (store?.storeAll()) return true;
        if (store === undefined) return false;
        poll(0, 0, LAST_PAUSE_MS);
      }
      return false;
    },
  };
}

/** Has the next process know whether this one has died early. */
function countDeaths(memory: Memory, deaths: number, loop: Loop): void {
  noteEarlyDeaths(memory, deaths);
  start(
    loop.timers,
    createTimer(() => noteEarlyDeaths(memory, 0)),
    performance.now() + EARLY_MS,
  );
}

/** Continues the sessions that can be continued, and resets the others. Returns how many are continued. */
function resumeAll(
  { sessions, pipes }: Inheritance,
  byKind: Readonly<Record<number, Resume>>,
  log: Log,
): number {
  let count = 0;
  for (const session of sessions) {
    try {
      const resume = byKind[session.kind];
      if (resume === undefined) throw new Error(`sessions of kind ${session.kind} are unknown`);
      if (resume({ ...session, pipes })) count += 1;
    } catch (error) {
      resetInherited(session);
      const message = `a session of the previous process cannot be continued: ${(error as Error).message}`;
      log.failure('failed resume', `${message}; it is reset`, (more) => `${message}; ${more} more are reset`);
    }
  }
  for (const pipe of pipes.values()) close(pipe);
  return count;
}
