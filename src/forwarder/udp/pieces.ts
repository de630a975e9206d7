import { E, MSG_DONTWAIT, MSG_NOSIGNAL, sendmmsg } from '../syscalls.js';
import { HEADER_BYTES, type Messages, preparePiece, setVector } from './messages.js';

/**
 * Errors of joined datagrams (UDP_SEGMENT, udp(7)) that single ones do not have: each of them is larger than the MTU of the way
 * to the target, where a single one would be fragmented, or the device computes no checksums (udp_send_skb() in the kernel).
 */
export const JOINED_ERRORS = new Set([E.EINVAL, E.EMSGSIZE, E.EIO]);

/** Datagrams that were to leave together, as message `i` of a set. */
export interface Joined {
  readonly i: number;
  /** Its vectors: one for each datagram, or one for all. */
  readonly vector: number;
  readonly count: number;
  /** What the first vector leads to. */
  readonly address: number;
  readonly length: number;
  /** Bytes of each datagram but the last. */
  readonly segment: number;
  /** Bytes of the control messages without that of the segment size. */
  readonly controlSize: number;
}

/** Sends joined datagrams one by one. Returns how many of them were not sent. */
export function sendPieces(fd: number, messages: Messages, joined: Joined): number {
  const { i, vector, count, address, length, segment, controlSize } = joined;
  let unsent = 0;
  if (count > 1) {
    for (let v = vector; v < vector + count; v++)
      unsent += sendPiece(fd, messages, { i, vector: v, controlSize });
    return unsent;
  }
  for (let at = 0; at < length; at += segment) {
    setVector(messages, vector, address + at, Math.min(segment, length - at));
    unsent += sendPiece(fd, messages, { i, vector, controlSize });
  }
  setVector(messages, vector, address, length);
  return unsent;
}

function sendPiece(
  fd: number,
  messages: Messages,
  { i, vector, controlSize }: Pick<Joined, 'i' | 'vector' | 'controlSize'>,
): number {
  preparePiece(messages, i, vector, controlSize);
  const header = messages.headers.address + i * HEADER_BYTES;
  return sendmmsg(fd, header, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 1 ? 1 : 0;
}
