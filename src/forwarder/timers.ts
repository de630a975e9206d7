/**
 * One thing to do later. It is its owner's object, made once and started as often as needed, so that starting a
 * timer allocates nothing.
 */
export interface Timer {
  /** When it fires, on the clock of performance.now(), ms. */
  due: number;
  /** Its index in the heap, or -1 while it is not started. */
  place: number;
  /** What is done; the timer is no longer started by then. */
  readonly fire: () => void;
}

/** Started timers as a binary heap: the one that is due first stands at index 0. */
export type Timers = Timer[];

/** Timers fired by one round of the loop. */
const MOST_A_ROUND = 64;

/** A timer that is not started. */
export function timer(fire: () => void): Timer {
  return { due: 0, place: -1, fire };
}

/** Starts `timer` for the time `due` (ms, on the clock of performance.now()), or moves it there. */
export function start(timers: Timers, timer: Timer, due: number): void {
  timer.due = due;
  if (timer.place < 0) {
    timer.place = timers.length;
    timers.push(timer);
  }
  rise(timers, timer);
  sink(timers, timer);
}

/** Stops `timer`; nothing happens if it was not started. */
export function stop(timers: Timers, timer: Timer): void {
  if (timer.place < 0) return;
  const last = timers.pop() as Timer;
  if (last !== timer) {
    put(timers, last, timer.place);
    rise(timers, last);
    sink(timers, last);
  }
  timer.place = -1;
}

/**
 * Fires the timers that are due at `now`, the earliest first, and at most `most` of them: thousands of dials that are due
 * together must not keep other events waiting. The rest stays due.
 */
export function fireDue(timers: Timers, now: number, most = MOST_A_ROUND): void {
  for (let fired = 0; fired < most; fired++) {
    const first = timers[0];
    if (first === undefined || first.due > now) return;
    stop(timers, first);
    first.fire();
  }
}

function put(timers: Timers, timer: Timer, place: number): void {
  timers[place] = timer;
  timer.place = place;
}

function rise(timers: Timers, timer: Timer): void {
  let place = timer.place;
  while (place > 0) {
    const above = timers[(place - 1) >> 1] as Timer;
    if (above.due <= timer.due) break;
    put(timers, above, place);
    place = (place - 1) >> 1;
  }
  put(timers, timer, place);
}

function sink(timers: Timers, timer: Timer): void {
  let place = timer.place;
  for (;;) {
    let below = 2 * place + 1;
    if (below >= timers.length) break;
    const right = timers[below + 1];
    if (right !== undefined && right.due < (timers[below] as Timer).due) below += 1;
    const smaller = timers[below] as Timer;
    if (smaller.due >= timer.due) break;
    put(timers, smaller, place);
    place = below;
  }
  put(timers, timer, place);
}
