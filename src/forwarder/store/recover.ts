import type { Log } from '../log.js';
import { disconnect } from '../socket-options.js';
import { close, poll, type SharedMemory } from '../syscalls.js';
import { readGeneration, type StoredGeneration, type StoredSession } from './generation.js';
import {
  ENDED,
  earlyDeaths,
  flagsOf,
  isRecord,
  isTakenOver,
  kindOf,
  type Notes,
  noteEarlyDeaths,
  openMemory,
  serialOf,
} from './memory.js';
import { generationOf } from './store.js';

/** A descriptor that the service manager has passed, with the name under which it was stored. */
export interface PassedDescriptor {
  readonly name: string;
  readonly fd: number;
}

/** How long a process lives that does not count as one that dies early, ms. */
export const EARLY_MS = 100;

/** From so many early deaths in a row on, the next process waits before it takes over the sessions, ms. */
const DEATHS_BEFORE_DELAY = 5;
const PAUSE_MS = 1000;

/** After so many, the sessions are reset: one of them may be the cause. */
const MOST_DEATHS = 20;

/** What an earlier process has left. */
export interface Inheritance {
  /** The names of all generations in the store of the service manager. */
  readonly names: readonly string[];
  /** The number of the newest one, or 0. */
  readonly newest: number;
  readonly sessions: readonly InheritedSession[];
  /** The ends for reading of the pipes, by number. */
  readonly pipes: Map<number, number>;
  /** The notes about the sessions; undefined if there are none. */
  readonly memory: SharedMemory | undefined;
  /** Why the newest of them is out of date, if it is: then a later process has stored the sessions, perhaps in another thread. */
  readonly problem?: string;
  /** How many processes in a row have died early, counting this one until it has lived long enough. */
  readonly deaths: number;
}

/** A session that has not ended. */
export interface InheritedSession {
  readonly kind: number;
  readonly notes: Notes;
  readonly descriptors: readonly number[];
}

/**
 * Reads what an earlier process has left: the newest generation that is complete. Everything stays in the store of the service
 * manager. What cannot be read is logged; the sessions in it are reset when it is removed from the store.
 */
export function readInheritance(passed: readonly PassedDescriptor[], log: Log): Inheritance {
  const names = new Map<string, number[]>();
  for (const { name, fd } of passed) names.set(name, [...(names.get(name) ?? []), fd]);
  const newestFirst = [...names].sort(([a], [b]) => (generationOf(b) ?? 0) - (generationOf(a) ?? 0));
  const nothing: Inheritance = {
    names: [...names.keys()],
    newest: generationOf(newestFirst[0]?.[0] ?? '') ?? 0,
    sessions: [],
    pipes: new Map(),
    memory: undefined,
    deaths: 0,
  };
  let found: Inheritance | undefined;
  let outdated: OutOfDate | undefined;
  for (const [, receivers] of newestFirst) {
    try {
      found ??= { ...nothing, ...openGeneration(readGeneration(receivers)) };
    } catch (error) {
      if (error instanceof OutOfDate) outdated = error;
      else logLost(log, (error as Error).message);
    }
    for (const receiver of receivers) close(receiver);
  }
  if (found === undefined)
    return outdated === undefined ? nothing : { ...nothing, problem: outdated.message };
  if (found.deaths > MOST_DEATHS) {
    log.error(
      'failed',
      `the forwarder has died ${MOST_DEATHS} times in a row right after it had taken over ` +
        `${found.sessions.length} sessions; they are reset`,
    );
    for (const session of found.sessions) resetInherited(session);
    return nothing;
  }
  if (found.deaths > DEATHS_BEFORE_DELAY) poll(0, 0, PAUSE_MS);
  return found;
}

/** Another process has continued what is stored. */
class OutOfDate extends Error {}

/** Logs why stored sessions are lost. */
export function logLost(log: Log, problem: string): void {
  log.error(
    'failed',
    `the sessions of the previous process cannot be taken over: ${problem}; they are reset`,
  );
}

/** Resets a session that cannot be continued. */
export function resetInherited({ descriptors }: InheritedSession): void {
  for (const descriptor of descriptors) {
    disconnect(descriptor);
    close(descriptor);
  }
}

function openGeneration({
  memory: fd,
  sessions,
  pipes,
}: StoredGeneration): Pick<Inheritance, 'sessions' | 'pipes' | 'memory' | 'deaths'> {
  let memory: SharedMemory;
  try {
    memory = openMemory(fd);
    if (isTakenOver(memory))
      throw new OutOfDate('another process has continued them, and could not store them');
  } catch (error) {
    for (const descriptor of [...sessions.flatMap(({ descriptors }) => descriptors), ...pipes.values()])
      close(descriptor);
    throw error;
  } finally {
    close(fd);
  }
  const deaths = earlyDeaths(memory) + 1;
  noteEarlyDeaths(memory, deaths);
  return {
    sessions: sessions.flatMap((session) => openSession(memory, session)),
    pipes,
    memory,
    deaths,
  };
}

function openSession(
  memory: SharedMemory,
  { record, serial, descriptors }: StoredSession,
): InheritedSession[] {
  const notes: Notes = { memory, record };
  // The record of a session that has ended may belong to another one by now.
  const isOpen = isRecord(memory, record) && serialOf(notes) === serial && (flagsOf(notes) & ENDED) === 0;
  if (isOpen) return [{ kind: kindOf(notes), notes, descriptors }];
  for (const descriptor of descriptors) close(descriptor);
  return [];
}
