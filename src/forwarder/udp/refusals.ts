import { copyFrom, MSG_DONTWAIT, MSG_ERRQUEUE, recvmmsg } from '../syscalls.js';
import { bufferOf, createMessages, lengthOf, type Messages, prepareReceive } from './messages.js';

/*
 * ICMP errors about datagrams to the target (IP_RECVERR, ip(7)). Each comes with the beginning of the datagram that it is about:
 * a kernel quotes some 500 bytes of it (icmp_send() of Linux), a router may quote none.
 */

/** Errors read in one go. */
const COUNT = 8;

let errors: Messages | undefined;

/**
 * Empties the error queue of a socket. Returns whether `datagram` may be among those that were refused: one of the errors quotes its
 * beginning or nothing, or the queue has none.
 */
export function isRefusalOf(fd: number, datagram: Buffer | undefined): boolean {
  errors ??= createMessages(COUNT);
  let isEmpty = true;
  let isQuoted = false;
  for (let count = COUNT; count === COUNT; ) {
    prepareReceive(errors, 0, false);
    count = recvmmsg(fd, errors.headers.address, COUNT, MSG_DONTWAIT | MSG_ERRQUEUE, 0);
    for (let i = 0; i < count; i++) {
      isEmpty = false;
      const size = lengthOf(errors, i);
      const quoted = copyFrom(bufferOf(errors, i), size);
      if (size === 0 || datagram?.subarray(0, size).equals(quoted)) isQuoted = true;
    }
  }
  return isEmpty || isQuoted;
}
