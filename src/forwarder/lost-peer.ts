import { type Connection, describeClient, type End, leadsToForwarder } from './connection.js';
import { handleRejection } from './far-failure.js';
import { E, errorWords } from './syscalls.js';
import { bytesReceived } from './tcp-info.js';

/** Errors of a peer that has reset the connection. They are passed on as a reset and not logged. */
const RESETS = new Set([0, E.ECONNRESET, E.EPIPE]);

/**
 * Counts a peer that has reset the connection or has vanished, logs one that has vanished, and asks the resolver why the target
 * rejects clients. `failure` is errno, or 0 if it is unknown.
 */
export function handleLostPeer(end: End, failure: number): void {
  const { connection } = end;
  const { counters } = connection.relay;
  if (end === connection.client) counters.resetsByClient += 1;
  else counters.resetsByTarget += 1;
  if (!RESETS.has(failure)) logLostPeer(end, failure);
  else if (end === connection.target && wasRejected(connection)) handleRejection(connection);
}

/**
 * Whether the target has reset the connection without sending a byte. The head of another machine does so if its own target
 * fails, or if it still knows this machine by an older address.
 */
function wasRejected({ relay, target }: Connection): boolean {
  return leadsToForwarder(relay) && bytesReceived(target.fd) === 0;
}

/** Logs that a peer has vanished. No program has closed the connection, so no other log tells. */
function logLostPeer(end: End, failure: number): void {
  const { connection } = end;
  const { relay, target, clientName } = connection;
  const isTarget = end === target;
  // The kernel no longer knows the address of a client that has vanished.
  const who = isTarget
    ? relay.target
    : (clientName ?? `a client${relay.access === undefined ? '' : ` at ${relay.access.address}`}`);
  const silence = isTarget ? relay.targetTimeout : relay.clientTimeout;
  const message =
    failure === E.ETIMEDOUT && silence !== undefined
      ? `${who} has been silent for ${silence / 1000} s`
      : `${who} can no longer be reached (${errorWords(failure)})`;
  const rest = isTarget
    ? `closed the client ${describeClient(connection)}`
    : `closed its connection to ${relay.target}`;
  relay.log.failure(
    `lost ${isTarget ? 'target' : 'client'} ${failure}`,
    `${message}; ${rest}`,
    (count) => `${message}; closed ${count} more connection${count === 1 ? '' : 's'} in the last 10 s`,
  );
}
