import type { End, Flow, Relay } from './connection.js';

/*
 * Bulk streams take turns: a round of the loop first serves everything small that is ready, and then moves one chunk of
 * the bulk stream that has waited longest. So a small message waits for one chunk and not for one of every stream; and
 * while there are small messages, chunks are small as well.
 */

/** A read of this many bytes makes its flow a bulk stream. */
export const BULK_BYTES = 1 << 16;

/** Smaller reads in a row after which a flow is no bulk stream any more. */
const SMALL_READS = 16;

/** Most bytes moved by one turn. A pipe takes as many buffers as it has slots, whatever their size. */
const CHUNK = 1 << 20;

/** The same while small messages are on their way: about 0.1 ms. */
const SMALL_CHUNK = 1 << 17;

/** How long after a small message others are expected, ms. */
const EXPECTED_MS = 200;

/** Most bytes to read from a flow now. */
export function chunkOf(relay: Relay): number {
  return relay.loop.now < relay.smallUntil ? SMALL_CHUNK : CHUNK;
}

/** Notes that `bytes` have been read from a flow. */
export function noteRead(flow: Flow, bytes: number): void {
  if (bytes >= BULK_BYTES) {
    flow.isBulk = true;
    flow.smallReads = 0;
  } else if (!flow.isBulk) {
    const { relay } = flow.from.connection;
    relay.smallUntil = relay.loop.now + EXPECTED_MS;
  } else if (++flow.smallReads === SMALL_READS) {
    flow.isBulk = false;
  }
}

/** Lets a socket wait for its turn with the events that were reported of it. */
export function queueTurn(end: End, events: number): void {
  if (end.queued === 0) end.connection.relay.turns.push(end);
  end.queued |= events;
}

/**
 * Calls `move` for the socket that has waited longest, or for several if there are very many and nothing small is on its
 * way. Returns whether others still wait.
 */
export function takeTurns(relay: Relay, move: (end: End, events: number) => void): boolean {
  const { turns, loop } = relay;
  if (turns.length === 0) return false;
  const count = loop.now < relay.smallUntil ? 1 : Math.ceil(turns.length / 8);
  for (const end of turns.splice(0, count)) {
    const events = end.queued;
    end.queued = 0;
    if (end.fd >= 0) move(end, events);
  }
  return turns.length > 0;
}
