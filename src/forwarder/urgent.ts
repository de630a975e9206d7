import { beginUrgent, endUrgent, type Notes, type Part } from './store/memory.js';
import { E, errno, MSG_DONTWAIT, MSG_PEEK, pinned, read, recv, recvmsg, write } from './syscalls.js';

/*
 * Urgent data (MSG_OOB, RFC 6093). splice(2) never moves past the urgent mark: it fails with EAGAIN there, or
 * returns 0 or an error if the connection has ended, although bytes are left (tcp_splice_read() in the
 * kernel). recv(2) does move past it, and with SO_OOBINLINE it returns the urgent byte in its place in the
 * stream.
 */

const byte = pinned(4);

/**
 * Checks whether splice(2) moves nothing because it has stopped at the urgent mark: then bytes can be read
 * from `fd` all the same. Returns 0 if so, EAGAIN if no byte can be read, and another errno if the check
 * fails.
 */
export function findUrgentMark(fd: number): number {
  const count = recv(fd, byte.address, 1, MSG_PEEK | MSG_DONTWAIT);
  if (count === 1) return 0;
  return count < 0 ? errno() : E.EAGAIN;
}

/**
 * Moves the byte that findUrgentMark() has just found into an empty pipe, after which splice(2) continues. It
 * is the only byte that passes through the process. `notes` are those of a stored session. Returns 0, or errno if the byte is still in the socket
 * and the pipe is still empty.
 */
export function passUrgentByte(
  fd: number,
  pipe: { out: number; into: number },
  part: Part,
  notes: Notes | undefined,
): number {
  const message = notes === undefined ? undefined : beginUrgent(notes, part);
  let failure = 0;
  if (write(pipe.into, byte.address, 1) !== 1) {
    failure = errno();
  } else if (
    (message === undefined ? recv(fd, byte.address, 1, MSG_DONTWAIT) : recvmsg(fd, message, MSG_DONTWAIT)) !==
    1
  ) {
    failure = errno();
    read(pipe.out, byte.address, 1);
  }
  if (notes !== undefined) endUrgent(notes);
  return failure;
}
