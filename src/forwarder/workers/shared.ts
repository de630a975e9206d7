/*
 * Memory that all threads of a forwarder share, in 32-bit words. Each worker has a cache line of its own, and is the only one to write
 * it. The first line is everybody's.
 */

const LINE_WORDS = 16;

/** The lock of the counters: 0, or 1 while a thread has it. */
const LOCK = 0;
/** Whether the first thread wants to hear of every session that ends, because no client is accepted meanwhile. */
const WAITING = 1;

/** The clients that the worker has taken, modulo 2^32, and its sessions. */
const TAKEN = 0;
const OPEN = 1;
/** Its state: see {@link STARTING}. */
const STATE = 2;

/** A worker that has not taken over the sessions of an earlier process yet; one that relays; one that does not any more. */
export const STARTING = 0;
export const RUNNING = 1;
export const ENDED = 2;

export type Shared = Int32Array<SharedArrayBuffer>;

/** Creates memory for this number of workers. */
export function createShared(workers: number): Shared {
  return new Int32Array(new SharedArrayBuffer(4 * LINE_WORDS * (1 + workers)));
}

/** Calls `action` while no other thread does. */
export function withLock(shared: Shared, action: () => void): void {
  for (let tries = 0; Atomics.compareExchange(shared, LOCK, 0, 1) !== 0; tries++) {
    // The thread that has it may wait for a processor.
    if (tries > SPINS) Atomics.wait(shared, LOCK, 1, 1);
  }
  try {
    action();
  } finally {
    Atomics.store(shared, LOCK, 0);
  }
}

const SPINS = 1000;

export function setWaiting(shared: Shared, isWaiting: boolean): void {
  Atomics.store(shared, WAITING, isWaiting ? 1 : 0);
}

export function isWaiting(shared: Shared): boolean {
  return Atomics.load(shared, WAITING) !== 0;
}

/** Notes that a worker has taken another client. Its session has been noted before, so that it never seems to be nowhere. */
export function noteTaken(shared: Shared, worker: number): void {
  Atomics.add(shared, lineOf(worker) + TAKEN, 1);
}

export function noteOpen(shared: Shared, worker: number, open: number): void {
  Atomics.store(shared, lineOf(worker) + OPEN, open);
}

/** The sessions of a worker, with the clients on the way to it, when `sent` clients have been sent. */
export function sessionsOf(shared: Shared, worker: number, sent: number): number {
  const line = lineOf(worker);
  // In this order: what is taken in between counts twice, and not at all otherwise.
  const onTheWay = (sent - Atomics.load(shared, line + TAKEN)) | 0;
  return onTheWay + Atomics.load(shared, line + OPEN);
}

/** Notes the state of a worker, and wakes the thread that waits for it. */
export function setState(shared: Shared, worker: number, state: number): void {
  Atomics.store(shared, lineOf(worker) + STATE, state);
  Atomics.notify(shared, lineOf(worker) + STATE);
}

/** Blocks until a worker is in this state or a later one, `ms` at most. Returns whether it is. */
export function waitForState(shared: Shared, worker: number, state: number, ms: number): boolean {
  const at = lineOf(worker) + STATE;
  const end = performance.now() + ms;
  for (;;) {
    const current = Atomics.load(shared, at);
    if (current >= state) return true;
    const left = end - performance.now();
    if (left <= 0) return false;
    Atomics.wait(shared, at, current, left);
  }
}

function lineOf(worker: number): number {
  return LINE_WORDS * (1 + worker);
}
