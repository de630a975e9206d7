import { E, errno, MSG_DONTWAIT, MSG_PEEK, pinned, recv, write } from './syscalls.js';

/*
 * Urgent data (MSG_OOB, RFC 6093). splice(2) never moves past the urgent mark: it fails with EAGAIN there, or returns 0
 * or an error if the connection has ended, although bytes wait (tcp_splice_read() in the kernel). recv(2) does move past
 * it, and with SO_OOBINLINE it returns the urgent byte in its place in the stream.
 */

const byte = pinned(4);

/** Whether bytes can be read from `fd` although splice(2) moves none: it has stopped at the urgent mark. */
export function isAtUrgentMark(fd: number): boolean {
  return recv(fd, byte.address, 1, MSG_PEEK | MSG_DONTWAIT) === 1;
}

/**
 * Moves the byte at the urgent mark of `fd` into a pipe; after it, splice(2) goes on. It is the only byte that passes
 * through the process. Returns 0, or errno if the byte is still in the socket.
 */
export function passUrgentByte(fd: number, pipe: number): number {
  if (recv(fd, byte.address, 1, MSG_PEEK | MSG_DONTWAIT) !== 1) return E.EAGAIN;
  if (write(pipe, byte.address, 1) !== 1) return errno();
  recv(fd, byte.address, 1, MSG_DONTWAIT);
  return 0;
}
