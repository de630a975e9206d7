import { pendingError } from '../socket-options.js';
import { E, MSG_DONTWAIT, MSG_ERRQUEUE, recvmmsg } from '../syscalls.js';
import { parseControl, type ReceivedControl } from './control.js';
import {
  controlSizeOf,
  controlWord,
  createMessages,
  type Messages,
  nameSizeOf,
  nameWord,
  prepareReceive,
} from './messages.js';
import type { UdpRelay } from './relay.js';
import { endSession } from './session.js';
import type { Head } from './sessions.js';

/*
 * ICMP errors about answers to clients (IP_RECVERR, ip(7)). The kernel queues them at the head. A client that is gone
 * loses its session, and the target is told: what it sends next to that session's port is refused by the kernel.
 */

/** Errors read in one go. */
const COUNT = 16;

let errors: Messages | undefined;
const received: ReceivedControl = { segment: 0, localWord: -1, localWords: 0, device: 0, hops: 0, error: 0 };

/**
 * Empties the error queue of a head, and ends the sessions of clients that are gone: nothing is at their ports any more. Returns whether it has had
 * an error.
 */
export function drainErrors(relay: UdpRelay, head: Head): boolean {
  errors ??= createMessages(COUNT);
  let hasRead = false;
  // As long as an error is left there, the next call on the socket fails with it.
  for (let count = COUNT; count === COUNT; ) {
    prepareReceive(errors, 0, true);
    count = recvmmsg(head.fd, errors.headers.address, COUNT, MSG_DONTWAIT | MSG_ERRQUEUE, 0);
    for (let i = 0; i < count; i++) {
      hasRead = true;
      const { error } = parseControl(
        errors.controls.words,
        controlWord(i),
        controlSizeOf(errors, i),
        received,
      );
      // All others pass: a machine that does not answer ARP for a moment, a route that changes, an answer that is too large for the way to its
      // client (the kernel knows the MTU of that way now, and sends the next one in fragments).
      if (error !== E.ECONNREFUSED) continue;
      const words = errors.names.words.subarray(nameWord(i), nameWord(i) + nameSizeOf(errors, i) / 4);
      endSessionsOf(relay, head, words);
    }
  }
  // The queue shares the receive buffer. An error for which that had no room is in the socket alone, which epoll would report on every round.
  if (!hasRead) pendingError(head.fd);
  return hasRead;
}

function endSessionsOf(relay: UdpRelay, head: Head, client: Int32Array): void {
  for (let session = relay.sessions.oldest; session !== undefined; ) {
    const next = session.newer;
    const { words } = session.client;
    if (session.head === head && client.every((word, i) => words[i] === word)) endSession(relay, session);
    session = next;
  }
}
