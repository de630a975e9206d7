import {
  copyFrom,
  copyTo,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_TRUNC,
  pinned,
  recvmsg,
  reserve,
  sendFrom,
} from '../syscalls.js';
import { SIZE_UNIX } from './address.js';

/*
 * Single messages of unix sockets. They pass through the memory of this process, because splice(2) does not know their
 * boundaries. File descriptors that a message carries (SCM_RIGHTS, unix(7)) are not passed on: the kernel closes those for which
 * recvmsg(2) has no room.
 */

/**
 * The largest message, bytes. A sender needs a send buffer twice that size (SO_SNDBUF, socket(7)); the usual limit,
 * net.core.wmem_max, allows 212,992. Pages take up memory once a message has been in them.
 */
const BUFFER_BYTES = 1 << 20;

const buffer = reserve(BUFFER_BYTES);
const NAME_BYTES = SIZE_UNIX + 2;
const name = pinned(NAME_BYTES);
/** struct cmsghdr and struct ucred. With a byte more there would be room for descriptors, which would stay open. */
const CREDENTIALS_BYTES = 28;
const control = pinned(CREDENTIALS_BYTES);

/*
 * struct msghdr of 64-bit Linux (linux/socket.h) in 32-bit words: the name and its size, the vector and its length, the control
 * messages and their size, the flags.
 */
const header = pinned(56);
const vector = pinned(16);
writePointer(vector.words, 0, buffer);
writePointer(vector.words, 2, BUFFER_BYTES);
writePointer(header.words, 0, name.address);
writePointer(header.words, 4, vector.address);
writePointer(header.words, 6, 1);
writePointer(header.words, 8, control.address);

/** A message in the memory that the next call of {@link receive} overwrites. */
export interface Message {
  address: number;
  length: number;
  /** The sockaddr of its sender; empty if the sender has no address. Overwritten by the next one as well. */
  sender: Buffer;
  /** Whether it came with credentials: each message does, and the end does not. False if they were not asked for. */
  hasCredentials: boolean;
  /** Whether it was longer than 1 MiB, and the rest is lost. */
  isTruncated: boolean;
}

const message: Message = {
  address: buffer,
  length: 0,
  sender: name.bytes.subarray(0, 0),
  hasCredentials: false,
  isTruncated: false,
};

/**
 * Receives a message from `fd`, with the credentials of its sender only if the socket has SO_PASSCRED: the room for them would be
 * taken by descriptors. Returns undefined if there is none, or an error: see errno().
 */
export function receive(fd: number, { withCredentials = false } = {}): Message | undefined {
  header.words[2] = NAME_BYTES;
  writePointer(header.words, 10, withCredentials ? CREDENTIALS_BYTES : 0);
  const length = recvmsg(fd, header.address, MSG_DONTWAIT);
  if (length < 0) return undefined;
  message.length = length;
  const nameSize = header.words[2] as number;
  // The family alone is the name of a socket without one.
  message.sender = name.bytes.subarray(0, nameSize > 2 ? nameSize : 0);
  message.hasCredentials = (header.words[10] as number) > 0;
  message.isTruncated = ((header.words[12] as number) & MSG_TRUNC) !== 0;
  return message;
}

/** Copies the message that has just been received, so that {@link restore} has it. */
export function store({ address, length }: Pick<Message, 'address' | 'length'>): Buffer {
  return copyFrom(address, length);
}

/** A stored message in the memory that the next call of {@link receive} overwrites. */
export function restore(bytes: Buffer): Pick<Message, 'address' | 'length'> {
  if (bytes.length > 0) copyTo(buffer, bytes, bytes.length);
  return { address: buffer, length: bytes.length };
}

/** Sends a message in memory to the peer of `fd`, or to a sockaddr. Returns -1 if that failed: see errno(). */
export function send(
  fd: number,
  { address, length }: Pick<Message, 'address' | 'length'>,
  to: { address: number; size: number } = { address: 0, size: 0 },
): number {
  return sendFrom(fd, address, length, MSG_DONTWAIT | MSG_NOSIGNAL, to.address, to.size);
}

function writePointer(words: Int32Array, at: number, address: number): void {
  words[at] = address | 0;
  words[at + 1] = Math.floor(address / 2 ** 32);
}
