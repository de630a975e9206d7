/**
 * A timer. Its owner creates it once and starts it as often as needed, so that starting it allocates nothing.
 */
export interface Timer {
  /** When it fires, on the clock of performance.now(), ms. */
  due: number;
  /** Its index in the heap, or -1 while it is not started. */
  index: number;
  /** Called when it fires. The timer is no longer started by then. */
  readonly fire: () => void;
}

/** The started timers, as a binary heap: the one that fires first is at index 0. */
export type Timers = Timer[];

/** The most timers fired in one round of the loop. */
const MOST_A_ROUND = 64;

/** Creates a timer that is not started. */
export function createTimer(fire: () => void): Timer {
  return { due: 0, index: -1, fire };
}

/** Starts `timer` for the time `due` (ms, on the clock of performance.now()), or moves it there. */
export function start(timers: Timers, timer: Timer, due: number): void {
  timer.due = due;
  if (timer.index < 0) {
    timer.index = timers.length;
    timers.push(timer);
  }
  siftUp(timers, timer);
  siftDown(timers, timer);
}

/** Stops `timer`. Does nothing if it is not started. */
export function stop(timers: Timers, timer: Timer): void {
  if (timer.index < 0) return;
  const last = timers.pop() as Timer;
  if (last !== timer) {
    put(timers, last, timer.index);
    siftUp(timers, last);
    siftDown(timers, last);
  }
  timer.index = -1;
}

/**
 * Fires the timers that are due at `now`, earliest first, and at most `most` of them: thousands that are due
 * together must not delay other events. The rest stays due.
 */
export function fireDue(timers: Timers, now: number, most = MOST_A_ROUND): void {
  for (let fired = 0; fired < most; fired++) {
    const first = timers[0];
    if (first === undefined || first.due > now) return;
    stop(timers, first);
    first.fire();
  }
}

function put(timers: Timers, timer: Timer, index: number): void {
  timers[index] = timer;
  timer.index = index;
}

function siftUp(timers: Timers, timer: Timer): void {
  let index = timer.index;
  while (index > 0) {
    const above = timers[(index - 1) >> 1] as Timer;
    if (above.due <= timer.due) break;
    put(timers, above, index);
    index = (index - 1) >> 1;
  }
  put(timers, timer, index);
}

function siftDown(timers: Timers, timer: Timer): void {
  let index = timer.index;
  for (;;) {
    let below = 2 * index + 1;
    if (below >= timers.length) break;
    const right = timers[below + 1];
    if (right !== undefined && right.due < (timers[below] as Timer).due) below += 1;
    const smaller = timers[below] as Timer;
    if (smaller.due >= timer.due) break;
    put(timers, smaller, index);
    index = below;
  }
  put(timers, timer, index);
}
