import { type Pinned, pinned, reserve, writePointer } from '../syscalls.js';

/*
 * The memory of recvmmsg(2) and sendmmsg(2), in 32-bit words. The layouts are those of 64-bit Linux
 * (linux/socket.h), the same on x86-64 and arm64: struct mmsghdr is 64 bytes, struct iovec 16, and struct
 * cmsghdr 16, which its data follow.
 */

const HEADER_WORDS = 16;
const NAME = 0;
const NAME_SIZE = 2;
const VECTOR = 4;
const VECTOR_COUNT = 6;
const CONTROL = 8;
const CONTROL_SIZE = 10;
const LENGTH = 14;
const VECTOR_WORDS = 4;

/** Bytes of a struct mmsghdr. */
export const HEADER_BYTES = 4 * HEADER_WORDS;

/** The largest datagram is 65,507 bytes; what the kernel joins (UDP_GRO, udp(7)) is no longer than 65,535. */
const BUFFER_BYTES = 1 << 16;

/** Room for the address of a peer, and for its control messages, bytes. */
const NAME_BYTES = 32;
const CONTROL_BYTES = 128;

/** A datagram, or several of the same size that the kernel has joined, and where it is from or goes to. */
export interface Messages {
  readonly count: number;
  readonly headers: Pinned;
  readonly vectors: Pinned;
  readonly names: Pinned;
  readonly controls: Pinned;
  /** Address of the first of the buffers. */
  readonly buffers: number;
}

/** Reserves memory for `count` messages. A buffer takes up memory when a message has been in it. */
export function createMessages(count: number): Messages {
  const messages = {
    count,
    headers: pinned(count * HEADER_BYTES),
    vectors: pinned(count * 4 * VECTOR_WORDS),
    names: pinned(count * NAME_BYTES),
    controls: pinned(count * CONTROL_BYTES),
    buffers: reserve(count * BUFFER_BYTES),
  };
  const { headers, vectors } = messages;
  for (let i = 0; i < count; i++) {
    const at = i * HEADER_WORDS;
    writePointer(headers.words, at + VECTOR, vectors.address + i * 4 * VECTOR_WORDS);
    headers.words[at + VECTOR_COUNT] = 1;
    writePointer(vectors.words, i * VECTOR_WORDS, bufferOf(messages, i));
  }
  return messages;
}

/** Prepares the messages from `first` to before `end` for recvmmsg(2), with the address of the sender if `named`. */
export function prepareReceive(
  messages: Messages,
  first: number,
  named: boolean,
  end = messages.count,
): void {
  const { headers, vectors, names, controls } = messages;
  for (let i = first; i < end; i++) {
    const at = i * HEADER_WORDS;
    writePointer(headers.words, at + NAME, named ? names.address + i * NAME_BYTES : 0);
    headers.words[at + NAME_SIZE] = named ? NAME_BYTES : 0;
    writePointer(headers.words, at + CONTROL, controls.address + i * CONTROL_BYTES);
    headers.words[at + CONTROL_SIZE] = CONTROL_BYTES;
    vectors.words[i * VECTOR_WORDS + 2] = BUFFER_BYTES;
  }
}

/** Bytes that message `i` has received. */
export function lengthOf(messages: Messages, i: number): number {
  return messages.headers.words[i * HEADER_WORDS + LENGTH] as number;
}

/** Bytes of the address of the sender of message `i`. */
export function nameSizeOf(messages: Messages, i: number): number {
  return messages.headers.words[i * HEADER_WORDS + NAME_SIZE] as number;
}

/** Bytes of control messages that message `i` has received. */
export function controlSizeOf(messages: Messages, i: number): number {
  return messages.headers.words[i * HEADER_WORDS + CONTROL_SIZE] as number;
}

/** Where the address of the sender of message `i` begins in the words of `names`. */
export function nameWord(i: number): number {
  return (i * NAME_BYTES) / 4;
}

/** Where the control messages of message `i` begin in the words of `controls`. */
export function controlWord(i: number): number {
  return (i * CONTROL_BYTES) / 4;
}

/** The address of the buffer of message `i`. */
export function bufferOf(messages: Messages, i: number): number {
  return messages.buffers + i * BUFFER_BYTES;
}

/** What a message to be sent consists of. A `name` of 0 stands for none. */
export interface Outgoing {
  name: number;
  nameSize: number;
  /** The vectors of the set that it consists of: the first, and how many. */
  vector: number;
  count: number;
  /** Bytes of its control messages, which are in `controls`. */
  controlSize: number;
}

/** Prepares message `i` for sendmmsg(2). */
export function prepareSend(
  { headers, vectors, controls }: Messages,
  i: number,
  { name, nameSize, vector, count, controlSize }: Outgoing,
): void {
  const at = i * HEADER_WORDS;
  writePointer(headers.words, at + NAME, name);
  headers.words[at + NAME_SIZE] = nameSize;
  writePointer(headers.words, at + VECTOR, vectors.address + vector * 4 * VECTOR_WORDS);
  headers.words[at + VECTOR_COUNT] = count;
  writePointer(headers.words, at + CONTROL, controlSize === 0 ? 0 : controls.address + i * CONTROL_BYTES);
  headers.words[at + CONTROL_SIZE] = controlSize;
}

/** Makes message `i` consist of one vector of its set alone, with the first `controlSize` bytes of its control messages. */
export function preparePiece(
  { headers, vectors }: Messages,
  i: number,
  vector: number,
  controlSize: number,
): void {
  const at = i * HEADER_WORDS;
  writePointer(headers.words, at + VECTOR, vectors.address + vector * 4 * VECTOR_WORDS);
  headers.words[at + VECTOR_COUNT] = 1;
  if (controlSize === 0) writePointer(headers.words, at + CONTROL, 0);
  headers.words[at + CONTROL_SIZE] = controlSize;
}

/** Lets a vector of a set lead to `length` bytes at an address. */
export function setVector({ vectors }: Messages, vector: number, address: number, length: number): void {
  writePointer(vectors.words, vector * VECTOR_WORDS, address);
  vectors.words[vector * VECTOR_WORDS + 2] = length;
}
