import type { End, Flow, Relay } from './connection.js';

/*
 * A round of the loop first serves everything small that is ready, and then moves one chunk of the bulk
 * stream that has waited longest. So a small message waits for one chunk, not for one of every stream. Chunks
 * are smaller while there are small messages.
 */

/** A read of this many bytes makes its flow a bulk stream. */
export const BULK_BYTES = 1 << 16;

/** Consecutive smaller reads after which a flow is no longer a bulk stream. */
const SMALL_READS_IN_A_ROW = 16;

/** The most bytes moved at once. A pipe takes as many buffers as it has slots, whatever their size. */
const CHUNK = 1 << 20;

/** The same while small messages are expected: about 0.1 ms of work. */
const INTERACTIVE_CHUNK = 1 << 17;

/** How long after a small message further ones are expected, ms. */
const INTERACTIVE_MS = 200;

/** The most bytes to read from a flow now. */
export function chunkSize(relay: Relay): number {
  return relay.loop.now < relay.interactiveUntil ? INTERACTIVE_CHUNK : CHUNK;
}

/** Classifies a flow as bulk or interactive after a read of `bytes`. */
export function classify(flow: Flow, bytes: number): void {
  if (bytes >= BULK_BYTES) {
    flow.isBulk = true;
    flow.smallReads = 0;
  } else if (!flow.isBulk) {
    const { relay } = flow.from.connection;
    relay.interactiveUntil = relay.loop.now + INTERACTIVE_MS;
  } else if (++flow.smallReads === SMALL_READS_IN_A_ROW) {
    flow.isBulk = false;
  }
}

/** Puts a socket into the bulk queue, with the events that were reported for it. */
export function enqueue(end: End, events: number): void {
  if (end.queuedEvents === 0) end.connection.relay.bulkQueue.push(end);
  end.queuedEvents |= events;
}

/**
 * Calls `move` for the first socket of the bulk queue, or for several if the queue is long and no small
 * messages are expected. Returns whether the queue still holds any.
 */
export function runBulkQueue(relay: Relay, move: (end: End, events: number) => void): boolean {
  const { bulkQueue, loop } = relay;
  if (bulkQueue.length === 0) return false;
  const count = loop.now < relay.interactiveUntil ? 1 : Math.ceil(bulkQueue.length / 8);
  for (const end of bulkQueue.splice(0, count)) {
    const events = end.queuedEvents;
    end.queuedEvents = 0;
    if (end.fd >= 0) move(end, events);
  }
  return bulkQueue.length > 0;
}
