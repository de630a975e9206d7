import type { Address } from '../address.js';
import {
  close,
  E,
  errno,
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_PEEK,
  pinned,
  recvmsg,
  SCM_RIGHTS,
  SOL_SOCKET,
  sendmsg,
} from '../syscalls.js';

/** The most descriptors in one message: SCM_MAX_FD of the kernel (unix(7)). */
export const MOST_DESCRIPTORS = 253;

/** The most bytes in one message here. */
export const MOST_BYTES = 4096;

/** struct cmsghdr: the length with the header in 64 bits, the level and the type in 32 bits each (cmsg(3)). */
const CONTROL_HEADER = 16;

const bytes = pinned(MOST_BYTES);
const control = pinned(CONTROL_HEADER + 4 * MOST_DESCRIPTORS + 4);
/** struct iovec: address and length. */
const vector = pinned(16);
/** struct msghdr: name, its size, vectors, their number, control, its size, flags; 64 bits each. */
const message = pinned(56);
setNumber(vector, 0, bytes.address);
setNumber(message, 2, vector.address);
setNumber(message, 3, 1);

/** The contents of a message that was received. */
export interface Received {
  readonly bytes: Buffer;
  readonly descriptors: number[];
}

/**
 * Sends a message with duplicates of `descriptors` (SCM_RIGHTS, unix(7)), at most MOST_DESCRIPTORS, and never blocks. Returns
 * 0, or errno: EAGAIN if the queue is full, ETOOMANYREFS if the user has too many descriptors in flight.
 */
export function sendDescriptors(
  socket: number,
  text: Uint8Array,
  descriptors: readonly number[],
  to?: Address,
): number {
  bytes.bytes.set(text);
  setNumber(vector, 1, text.length);
  setNumber(message, 0, to?.sockaddr ?? 0);
  setNumber(message, 1, to?.size ?? 0);
  const size = CONTROL_HEADER + 4 * descriptors.length;
  setNumber(control, 0, size);
  control.words[2] = SOL_SOCKET;
  control.words[3] = SCM_RIGHTS;
  control.words.set(descriptors, CONTROL_HEADER / 4);
  const hasControl = descriptors.length > 0;
  setNumber(message, 4, hasControl ? control.address : 0);
  // CMSG_SPACE rounds up to 8 bytes.
  setNumber(message, 5, hasControl ? (size + 7) & ~7 : 0);
  return sendmsg(socket, message.address, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno() : 0;
}

/**
 * Receives duplicates of the descriptors of the next message and leaves the message in the queue. The socket must have the
 * option SO_PEEK_OFF, which makes each call return the next message (socket(7)). Returns undefined at the end of the queue.
 * Throws an Error if the kernel does not deliver all descriptors, as when the process may have no more.
 */
export function peekDescriptors(socket: number): Received | undefined {
  const received = receive(socket, MSG_PEEK);
  // At the end of the queue of a socket whose peer is closed, 0 is returned.
  if (received === undefined || received.bytes.length === 0) return undefined;
  if (received.isCut) throw new Error('the limit of open files (LimitNOFILE=) is too low for them');
  return received;
}

/**
 * Takes the next message with its descriptors out of the queue. Returns undefined if there is none, and "end" if the peer has
 * closed. If the process may have no more descriptors, the message has none.
 */
export function receiveDescriptors(socket: number): Received | 'end' | undefined {
  const received = receive(socket, 0);
  if (received !== undefined && received.bytes.length > 0) return received;
  for (const unused of received?.descriptors ?? []) close(unused);
  return received !== undefined || errno() !== E.EAGAIN ? 'end' : undefined;
}

/** Receives a message; undefined if recvmsg(2) fails: see errno(). If it is truncated, no descriptor of it stays open. */
function receive(socket: number, flags: number): (Received & { isCut: boolean }) | undefined {
  setNumber(vector, 1, MOST_BYTES);
  setNumber(message, 0, 0);
  setNumber(message, 1, 0);
  setNumber(message, 4, control.address);
  setNumber(message, 5, control.bytes.length);
  const size = recvmsg(socket, message.address, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (size < 0) return undefined;
  const hasDescriptors = Number(message.bytes.readBigUInt64LE(40)) >= CONTROL_HEADER;
  const end = hasDescriptors ? Number(control.bytes.readBigUInt64LE(0)) : CONTROL_HEADER;
  const descriptors = Array.from(control.words.subarray(CONTROL_HEADER / 4, end / 4));
  const isCut = ((message.words[12] as number) & MSG_CTRUNC) !== 0;
  if (isCut) for (const descriptor of descriptors.splice(0)) close(descriptor);
  return { bytes: Buffer.from(bytes.bytes.subarray(0, size)), descriptors, isCut };
}

function setNumber({ bytes }: { bytes: Buffer }, at: number, number: number): void {
  bytes.writeBigUInt64LE(BigInt(number), 8 * at);
}
