import { type Counters, countIn, figuresIn, SIZE } from '../counters.js';
import { type Shared, withLock } from './shared.js';

/** What one thread counts. Its figures are added to those of the process at the end of each round of its loop. */
export interface Tally {
  readonly counters: Counters;
  /** Adds what has been counted since the last time. */
  flush(): void;
}

/** Figures that are not sums: every thread reads and writes those of the process. */
const COMMON = ['limit', 'failing', 'failingSince', 'failedAt', 'notes', 'idleAt'] as const;

/**
 * Creates a tally whose figures are added to those in `memory`, which the counters of all threads share. Adding is no single
 * instruction, so a lock keeps the threads apart; it is taken once a round, and not for each byte.
 */
export function createTally(memory: ArrayBufferLike, shared: Shared): Tally {
  const own = new ArrayBuffer(SIZE);
  const [counted, totals] = [figuresIn(own), figuresIn(memory)];
  const [counters, total] = [countIn(own), countIn(memory)];
  for (const name of COMMON) {
    Object.defineProperty(counters, name, {
      get: () => total[name],
      set: (value: number) => {
        total[name] = value;
      },
    });
  }
  counters.fail = (failure) => withLock(shared, () => total.fail(failure));
  return {
    counters,
    flush() {
      if (counted.every((amount) => amount === 0)) return;
      withLock(shared, () => {
        for (const [index, amount] of counted.entries()) totals[index] = (totals[index] as number) + amount;
      });
      counted.fill(0);
    },
  };
}
