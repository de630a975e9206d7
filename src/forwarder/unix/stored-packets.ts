import { peerOf } from '../address.js';
import type { Watch } from '../loop.js';
import {
  CONNECTED,
  DOWN,
  deadlineOf,
  flagsOf,
  noteDeadline,
  noteDescriptors,
  noteFlags,
  openedAt,
  type Part,
  UP,
} from '../store/memory.js';
import type { Remains } from '../store/open.js';
import type { Kind, Storable } from '../store/store.js';
import { close } from '../syscalls.js';
import type { Timer } from '../timers.js';
import { removeIfTwice } from './message.js';

/*
 * How connections of messages outlive the process: with their two sockets. Messages that have not been sent are in the queues of these,
 * and an end is read again.
 */

/** One of the two sockets of a connection. */
export interface End extends Watch {
  /** The direction of what is read here. */
  readonly part: Part;
  /** The other one. */
  other: End;
  /** Whether the next message here waits until the other one has room. */
  isBlocked: boolean;
  /** Has a message for its peer sent later; see createSendRetry(). */
  retrySend: (failure: number) => void;
  /** Whether the end has been read. */
  ended: boolean;
  /** Whether the peer has closed. */
  isGone: boolean;
}

/** A connection: of a client, and to the target. */
export interface Pair extends Storable {
  openedAt: number;
  readonly client: End;
  readonly target: End;
  /** Until when the target may refuse, ms, on the clock of the loop. */
  deadline: number;
  readonly timer: Timer;
  pause: number;
  isConnected: boolean;
  /** Whether one side takes nothing more: what the other one can still get is passed on, and then it is closed. */
  isEnding: boolean;
  closed: boolean;
}

/** How a connection is stored: both sockets, of which that to the target may not be connected yet. */
export const packets: Kind<Pair> = {
  code: 4,
  prepare(pair, stored) {
    noteDeadline(stored, pair.deadline);
    if (pair.isConnected) noteFlags(stored, CONNECTED);
  },
  descriptors({ client, target, stored }) {
    if (stored !== undefined) noteDescriptors(stored, client.fd, target.fd);
    return [client.fd, target.fd].filter((fd) => fd >= 0);
  },
  pipes: () => [],
};

/** What is known of a connection of an earlier process. `target` is -1 if it has not been connected yet. */
export interface StoredPair {
  readonly client: number;
  readonly target: number;
  /** Whether the previous process knew that the target had accepted. */
  readonly wasConnected: boolean;
  readonly openedAt: number;
  readonly deadline: number;
}

/** Reads a connection. Throws an Error if it cannot be continued; then its descriptors are still open. */
export function readStoredPair({ notes, descriptors }: Remains): StoredPair {
  const [client = -1, socket = -1] = descriptors;
  const wasConnected = (flagsOf(notes) & CONNECTED) !== 0;
  if (client < 0 || (wasConnected && socket < 0)) throw new Error('its socket to the target is missing');
  // It may have been connected right before the process died.
  const isConnected = wasConnected || (socket >= 0 && peerOf(socket) !== undefined);
  if (!isConnected && socket >= 0) close(socket);
  removeIfTwice(client, notes, UP);
  if (isConnected) removeIfTwice(socket, notes, DOWN);
  return {
    ...{ client, target: isConnected ? socket : -1, wasConnected },
    openedAt: openedAt(notes),
    deadline: deadlineOf(notes),
  };
}
