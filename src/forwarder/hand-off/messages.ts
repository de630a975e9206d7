import { receiveDescriptors, sendDescriptors } from '../store/descriptors.js';
import { close, E } from '../syscalls.js';

/*
 * What the front forwarder of a link with several tails and the forwarder of each tail say to each other, over a unix socket that
 * keeps the boundaries of messages (SOCK_SEQPACKET, unix(7)). A message is four 32-bit words, MAGIC, the type, the number of the
 * client and a value, and a text. The front offers a client with a duplicate of its descriptor and keeps its own:
 *
 *     front                                 tail
 *       OFFER client, descriptor   ->         the text is about PROXY headers, and empty without them: see proxy-info.ts
 *                                  <-         ACCEPTED client, or REFUSED client, reason
 *                                  <-         OPEN sessions, whenever their number has changed
 *                                  <-         SOURCE, how many sessions it has of an address, if these are limited
 *
 * A tail reads the first byte of a client after the kernel has put its ACCEPTED into the queue of the front. So a front that
 * shuts its socket down and then reads the rest of the queue knows of each client whether the tail serves it, whatever state the
 * tail is in: no client is ever lost, and none is served by two tails.
 */

/** "WHO1": a program that says something else is of another version. */
const MAGIC = 0x314f4857;
const HEADER = 16;

/** The most bytes of a text. */
const MOST_TEXT = 500;

/** Too many descriptors in flight (unix(7)); Node has no name for it. */
const ETOOMANYREFS = 109;

/** Errors of a full queue, and of a kernel that is short of memory. */
const FULL = new Set([E.EAGAIN, E.ENOBUFS, E.ENOMEM, ETOOMANYREFS]);

/** The types of messages. */
export const OFFER = 1;
export const ACCEPTED = 2;
export const REFUSED = 3;
/** The client has gone before the tail accepted. */
export const GONE = 4;
export const OPEN = 5;
/** The result of an active check: the text says what failed, and is empty if the target accepted. */
export const CHECKED = 6;
/**
 * What another machine says of its part, which has reset clients that it had accepted; empty when it has served one again. Until
 * then, what it accepts proves nothing, and the text of ACCEPTED says so.
 */
export const REJECTED = 7;
/** How many sessions there are of a source: see formatCount(). */
export const SOURCE = 8;

/** A message. */
export interface Message {
  readonly type: number;
  /** The number of the client that it is about, or 0. */
  readonly client: number;
  /** The sessions that the tail has open; of an OFFER, 0. */
  readonly open: number;
  readonly text: string;
  /** The client of an OFFER; undefined if the process may have no more descriptors. */
  readonly descriptor?: number;
}

/** Sends a message and never blocks. Returns 0, or errno: EAGAIN if the queue is full, EPIPE if the peer does not read any more. */
export function sendMessage(socket: number, { type, client, open, text, descriptor }: Message): number {
  const words = Uint8Array.from(Buffer.from(Int32Array.of(MAGIC, type, client, open).buffer));
  const bytes = Buffer.concat([words, Buffer.from(text).subarray(0, MOST_TEXT)]);
  return sendDescriptors(socket, bytes, descriptor === undefined ? [] : [descriptor]);
}

/** Takes the next message. Returns undefined if there is none, and "end" if the peer has closed or is of another version. */
export function receiveMessage(socket: number): Message | 'end' | undefined {
  const received = receiveDescriptors(socket);
  if (received === undefined || received === 'end') return received;
  const { bytes, descriptors } = received;
  const isOurs = bytes.length >= HEADER && bytes.readInt32LE(0) === MAGIC;
  // What nobody uses would stay open for good.
  for (const unused of descriptors.splice(isOurs ? 1 : 0)) close(unused);
  if (!isOurs) return 'end';
  const [descriptor] = descriptors;
  return {
    type: bytes.readInt32LE(4),
    client: bytes.readInt32LE(8),
    open: bytes.readInt32LE(12),
    // It ends up in the journal, and a forwarder that has been taken over may say anything.
    text: bytes.toString('utf8', HEADER, HEADER + MOST_TEXT).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ''),
    ...(descriptor !== undefined && { descriptor }),
  };
}

/** Whether a message that could not be sent can be sent later. */
export function isFull(failure: number): boolean {
  return FULL.has(failure);
}
