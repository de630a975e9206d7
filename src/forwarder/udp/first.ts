import {
  AF_UNIX,
  close,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_PEEK,
  type Pinned,
  pinned,
  recv,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  sendto,
  socketpair,
} from '../syscalls.js';
import type { Session } from './sessions.js';

/*
 * The first datagram of a session is in the memory of the process while it may have to be sent again. That of a stored session is also in the queue of
 * a socket, which is stored with the session.
 */

/** The most bytes of a datagram. */
const MOST_BYTES = 65_536;

const pair = pinned(8);
let room: Pinned | undefined;

/** Puts a copy of the first datagram of a session into a socket. Returns whether that was possible. */
export function storeFirst(session: Session): boolean {
  const { first } = session;
  closeStoredFirst(session);
  if (first === undefined || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.address) < 0)
    return false;
  const [sender, receiver] = [pair.words[0] as number, pair.words[1] as number];
  const isSent = sendto(sender, first, first.length, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0) === first.length;
  close(sender);
  if (isSent) session.storedFirst = receiver;
  else close(receiver);
  return isSent;
}

/** The datagram in such a socket, which keeps it. */
export function readStoredFirst(fd: number): Buffer | undefined {
  room ??= pinned(MOST_BYTES);
  const size = recv(fd, room.address, MOST_BYTES, MSG_PEEK | MSG_DONTWAIT);
  return size < 0 ? undefined : Buffer.from(room.bytes.subarray(0, size));
}

/** Closes such a socket of a session. */
export function closeStoredFirst(session: Session): void {
  if (session.storedFirst >= 0) close(session.storedFirst);
  session.storedFirst = -1;
}
