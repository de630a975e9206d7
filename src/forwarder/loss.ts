import { peerOf } from './address.js';
import type { Connection, End } from './connection.js';
import { bytesReceived } from './patience.js';
import { E, errorWords } from './syscalls.js';

/** Errors of a peer that has reset the connection, which the other side of it is told as a reset and nobody else. */
const RESETS = new Set([0, E.ECONNRESET, E.EPIPE]);

/**
 * How soon after a dial a reset means that the target wants no client of ours, ms: long enough for a far machine to
 * start its forwarder, shorter than that one waits for a target of its own (5 s).
 */
const TURNED_AWAY_MS = 3000;

/** Does what is due when the peer of `end` is gone, besides passing that on. `failure` is errno, or 0 if unknown. */
export function noteLoss(end: End, failure: number): void {
  const { connection } = end;
  if (!RESETS.has(failure)) tell(end, failure);
  else if (end === connection.target && wasTurnedAway(connection)) connection.relay.guide?.ask();
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

/** Says that a peer has vanished: no program has closed the connection, so none will tell. */
function tell(end: End, failure: number): void {
  const { connection } = end;
  const { relay, client, target } = connection;
  const isTarget = end === target;
  // The kernel no longer knows the address of a client that is gone.
  const who = isTarget
    ? relay.target
    : `a client${relay.guard === undefined ? '' : ` at ${relay.guard.address}`}`;
  const silence = isTarget ? relay.targetSilence : relay.clientSilence;
  const story =
    failure === E.ETIMEDOUT && silence !== undefined
      ? `${who} has been silent for ${silence / 1000} s`
      : `${who} can no longer be reached (${errorWords(failure)})`;
  const rest = isTarget
    ? `closed the client ${peerOf(client.fd) ?? '(gone)'}`
    : `closed its connection to ${relay.target}`;
  relay.log.failure(
    `lost ${isTarget ? 'target' : 'client'} ${failure}`,
    `${story}; ${rest}`,
    (count) => `${story}; closed ${count} more connection${count === 1 ? '' : 's'} in the last 10 s`,
  );
}
