/** Which worker gets the next client. */
export interface Picker {
  /** The number of the worker with the least sessions; of several, the one whose turn it is. */
  next(): number;
}

/**
 * Creates a picker for `count` workers, of which `load` tells the sessions. Workers with as many are taken in turn: short
 * connections, which leave no worker loaded, are spread as well.
 */
export function createPicker(count: number, load: (worker: number) => number): Picker {
  let turn = 0;
  return {
    next() {
      let best = turn;
      let least = load(turn);
      for (let step = 1; step < count && least > 0; step++) {
        const worker = (turn + step) % count;
        const sessions = load(worker);
        if (sessions < least) [best, least] = [worker, sessions];
      }
      turn = (best + 1) % count;
      return best;
    },
  };
}
