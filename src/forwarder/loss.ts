import type { Connection, End } from './connection.js';
import { bytesReceived } from './patience.js';
import { E } from './syscalls.js';

/** Errors of a peer that has reset the connection. */
const RESETS = new Set([0, E.ECONNRESET, E.EPIPE]);

/**
 * How soon after a dial a reset means that the target wants no client of ours, ms: long enough for a far machine to
 * start its forwarder, shorter than that one waits for a target of its own (5 s).
 */
const TURNED_AWAY_MS = 3000;

/** Does what is due when the peer of `end` is gone, besides passing that on. `failure` is errno, or 0 if unknown. */
export function noteLoss(end: End, failure: number): void {
  const { connection } = end;
  if (!RESETS.has(failure) || end !== connection.target) return;
  if (wasTurnedAway(connection)) connection.relay.guide?.ask();
}

/**
 * Whether the target has reset the connection right after it accepted it, without a word. So does the head of a far
 * machine that still knows us by an older address.
 */
function wasTurnedAway({ relay, target, dialled }: Connection): boolean {
  return (
    relay.guide !== undefined && relay.loop.now < dialled + TURNED_AWAY_MS && bytesReceived(target.fd) === 0
  );
}
