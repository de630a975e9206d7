import {
  close,
  lseek,
  MFD_CLOEXEC,
  memfdCreate,
  pinned,
  read,
  SEEK_END,
  SEEK_SET,
  write,
} from '../syscalls.js';
import { SIZE_UNIX } from './address.js';

/*
 * The notes about a session of datagrams have no room for the address of its client, and the kernel does not tell it either. It is in a small memory
 * file (memfd_create(2)) that is stored with the socket of the session: the size of the sockaddr in a byte, the sockaddr, and the address of the target as text.
 */

/** The most bytes of a file: both addresses. */
const MOST_BYTES = 256;

const room = pinned(MOST_BYTES);

/** What such a file says. */
export interface SenderNote {
  /** The sockaddr of the client; empty if it has no address. */
  readonly sender: Buffer;
  /** The address of the target: "/run/log.sock" or "@name". */
  readonly target: string;
}

/** Writes a file, and returns its descriptor; -1 if that is impossible (see errno()). */
export function writeSenderFile({ sender, target }: SenderNote): number {
  const fd = memfdCreate('wormhole-sender', MFD_CLOEXEC);
  if (fd < 0) return -1;
  const bytes = Buffer.concat([Buffer.from([sender.length]), sender, Buffer.from(target)]);
  room.bytes.set(bytes);
  if (write(fd, room.address, bytes.length) === bytes.length) return fd;
  close(fd);
  return -1;
}

/** Reads such a file. Throws an Error if it is none. */
export function readSenderFile(fd: number): SenderNote {
  const size = lseek(fd, 0, SEEK_END);
  const isRead = size > 0 && size <= MOST_BYTES && lseek(fd, 0, SEEK_SET) === 0;
  if (!isRead || read(fd, room.address, size) !== size)
    throw new Error('the address of its client is missing');
  const senderSize = room.bytes[0] as number;
  if (senderSize > SIZE_UNIX || 1 + senderSize > size)
    throw new Error('the address of its client is damaged');
  const bytes = Buffer.from(room.bytes.subarray(0, size));
  return { sender: bytes.subarray(1, 1 + senderSize), target: bytes.toString('utf8', 1 + senderSize) };
}
