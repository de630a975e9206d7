import { changeCount, parseCount, type Source, type Sources } from '../sources.js';

/*
 * With --max-per-source the front forwarder counts the sessions of each address, which are in the forwarders of its tails: these say
 * how many they have of an address whenever that changes, and all of it when the front connects.
 */

/** What one tail has told of its sessions. */
export interface TailSources {
  /** A client of this source is the tail's from now on. It has been counted already. */
  takeOver(source: Source): void;
  /** The tail has said how many sessions of a source it has. */
  told(text: string): void;
  /** Nothing is known of its sessions any more. */
  forget(): void;
}

/** Counts what a tail tells in `sources`, which are those of the front. */
export function createTailSources(sources: Sources): TailSources {
  const open = new Map<Source, number>();
  const set = (source: Source, count: number): void => {
    if (count > 0) open.set(source, count);
    else open.delete(source);
  };
  return {
    takeOver: (source) => set(source, (open.get(source) ?? 0) + 1),
    told(text) {
      const told = parseCount(text);
      if (told === undefined) return;
      const [source, count] = told;
      changeCount(sources, source, count - (open.get(source) ?? 0));
      set(source, count);
    },
    forget() {
      for (const [source, count] of open) changeCount(sources, source, -count);
      open.clear();
    },
  };
}
