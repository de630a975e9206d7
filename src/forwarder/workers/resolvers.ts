import type { Loop } from '../loop.js';
import type { Resolution, Resolver, ResolverOptions } from '../resolver.js';

/*
 * The first thread asks for all threads, so that there is one request at a time, and tells all of them when there is an answer: an
 * address that has failed in one is not tried again by the others.
 */

/** The resolvers of a link, by number: that of its target, and the one that has the target started again. */
export const TARGET = 0;
export const RESTARTER = 1;

/** The minimum delay after an answer before the first thread is asked again, ms: as in ../resolver.ts. */
const PAUSE_MS = 1000;

/** The resolvers of a worker. */
export interface WorkerResolvers {
  /** Has the first thread ask, and calls `resolved` with the content of the file when there is an answer. */
  create(which: number, options: ResolverOptions, resolved: (answer: Resolution) => void): Resolver;
  /** The first thread has got an answer, or could not ask. */
  answered(which: number): void;
}

/** Creates them; `ask` tells the first thread. */
export function createWorkerResolvers(loop: Loop, ask: (which: number) => void): WorkerResolvers {
  const answers = new Map<number, () => void>();
  return {
    create(which, { read, service }, resolved) {
      let isPending = false;
      let next = 0;
      answers.set(which, () => {
        isPending = false;
        next = loop.now + PAUSE_MS;
        resolved(read());
      });
      return {
        refresh() {
          if (isPending) return true;
          if (service === undefined || loop.now < next) return false;
          isPending = true;
          ask(which);
          return true;
        },
      };
    },
    answered: (which) => answers.get(which)?.(),
  };
}
