import {
  beginMessage,
  endMessage,
  isMessageTwice,
  type Notes,
  type Part,
  removalOf,
} from '../store/memory.js';
import {
  errno,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_PEEK,
  MSG_TRUNC,
  pinned,
  recv,
  recvmsg,
  reserve,
  sendFrom,
  sendmmsg,
  writePointer,
} from '../syscalls.js';
import { SIZE_UNIX } from './address.js';

/*
 * Single messages of unix sockets. They pass through the memory of this process, because splice(2) does not know their
 * boundaries. A message stays in the queue of its socket until it has been sent, so whatever happens to this process, the next one
 * finds it there. File descriptors that a message carries (SCM_RIGHTS, unix(7)) are not passed on: the kernel closes those for which
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

/** The struct msghdr and the struct iovec to send the message with. */
const sendHeader = pinned(56);
const sendVector = pinned(16);
writePointer(sendVector.words, 0, buffer);
writePointer(sendHeader.words, 4, sendVector.address);
writePointer(sendHeader.words, 6, 1);

/** A message in the memory that the next call of {@link peek} overwrites. */
export interface Message {
  /** Bytes. */
  length: number;
  /** The sockaddr of its sender; empty if the sender has no address. Overwritten by the next one as well. */
  sender: Buffer;
  /** Whether it came with credentials: each message does, and the end does not. False if they were not asked for. */
  hasCredentials: boolean;
  /** Whether it is longer than 1 MiB, and the rest cannot be read. */
  isTruncated: boolean;
}

const message: Message = {
  length: 0,
  sender: name.bytes.subarray(0, 0),
  hasCredentials: false,
  isTruncated: false,
};

/**
 * Reads the next message of `fd` and leaves it there, with the credentials of its sender only if the socket has SO_PASSCRED: the room
 * for them would be taken by descriptors. Returns undefined if there is none, or an error: see errno().
 */
export function peek(fd: number, { withCredentials = false } = {}): Message | undefined {
  header.words[2] = NAME_BYTES;
  writePointer(header.words, 10, withCredentials ? CREDENTIALS_BYTES : 0);
  const length = recvmsg(fd, header.address, MSG_DONTWAIT | MSG_PEEK);
  if (length < 0) return undefined;
  message.length = length;
  const nameSize = header.words[2] as number;
  // The family alone is the name of a socket without one.
  message.sender = name.bytes.subarray(0, nameSize > 2 ? nameSize : 0);
  message.hasCredentials = (header.words[10] as number) > 0;
  message.isTruncated = ((header.words[12] as number) & MSG_TRUNC) !== 0;
  return message;
}

/** Takes the next message out of the queue of `fd`. */
export function remove(fd: number): void {
  // An error of the socket is reported once, and keeps the message where it is.
  if (recv(fd, buffer, 0, MSG_DONTWAIT) < 0) recv(fd, buffer, 0, MSG_DONTWAIT);
}

/** Where a message goes: to a socket, or by that to a sockaddr; and the notes about its session, if that is stored. */
export interface Route {
  readonly from: number;
  readonly to: number;
  readonly address?: { readonly address: number; readonly size: number } | undefined;
  readonly notes: Notes | undefined;
  readonly part: Part;
}

/** Sends the message that {@link peek} has read from `from`, and takes it out of that queue. Returns 0, or errno; then it stays there. */
export function passOn({ length }: Message, { from, to, address, notes, part }: Route): number {
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  if (notes === undefined) {
    if (sendFrom(to, buffer, length, flags, address?.address ?? 0, address?.size ?? 0) < 0) return errno();
    remove(from);
    return 0;
  }
  sendVector.words[2] = length;
  writePointer(sendHeader.words, 0, address?.address ?? 0);
  sendHeader.words[2] = address?.size ?? 0;
  const { sending, removal } = beginMessage(notes, part, sendHeader.words);
  const failure = sendmmsg(to, sending, 1, flags) < 0 ? errno() : 0;
  if (failure === 0) removeNoted(from, removal);
  endMessage(notes);
  return failure;
}

/** Takes a message that the previous process sent out of the queue of `fd`, if that process had not done so. */
export function removeIfTwice(fd: number, notes: Notes, part: Part): void {
  if (isMessageTwice(notes, part)) removeNoted(fd, removalOf(notes));
}

/** Removes a message, which is noted where `removal` is. */
function removeNoted(fd: number, removal: number): void {
  // See remove().
  if (recvmsg(fd, removal, MSG_DONTWAIT) < 0) recvmsg(fd, removal, MSG_DONTWAIT);
}
