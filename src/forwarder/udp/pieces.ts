import { E, MSG_DONTWAIT, MSG_NOSIGNAL, sendmmsg } from '../syscalls.js';
import { HEADER_BYTES, type Messages, preparePiece } from './messages.js';

/**
 * Errors of joined datagrams (UDP_SEGMENT, udp(7)) that single ones do not have: each of them is larger than the MTU of the way
 * to the target, where a single one would be fragmented, or the device computes no checksums (udp_send_skb() in the kernel).
 */
export const JOINED_ERRORS = new Set([E.EINVAL, E.EMSGSIZE, E.EIO]);

/** Datagrams that the kernel has joined, as message `i` of a set. */
export interface Joined {
  readonly i: number;
  /** Where they are in memory, and their bytes. */
  readonly address: number;
  readonly length: number;
  /** Bytes of each but the last. */
  readonly segment: number;
  /** Bytes of the control messages without that of the segment size. */
  readonly controlSize: number;
}

/** Sends joined datagrams one by one. Returns how many of them were not sent. */
export function sendPieces(fd: number, messages: Messages, joined: Joined): number {
  const { i, address, length, segment, controlSize } = joined;
  let unsent = 0;
  for (let at = 0; at < length; at += segment) {
    preparePiece(messages, i, {
      address: address + at,
      length: Math.min(segment, length - at),
      controlSize,
    });
    const header = messages.headers.address + i * HEADER_BYTES;
    if (sendmmsg(fd, header, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 1) unsent += 1;
  }
  preparePiece(messages, i, { address, length, controlSize });
  return unsent;
}
