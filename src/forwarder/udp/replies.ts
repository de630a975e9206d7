import {
  E,
  errno,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  POLLOUT,
  pinned,
  poll,
  recvmmsg,
  sendmmsg,
} from '../syscalls.js';
import { parseControl, type ReceivedControl, writeSegment, writeSource4, writeSource6 } from './control.js';
import { drainErrors } from './errors.js';
import {
  bufferOf,
  controlSizeOf,
  controlWord,
  HEADER_BYTES,
  lengthOf,
  prepareReceive,
  prepareSend,
} from './messages.js';
import { JOINED_ERRORS, sendPieces } from './pieces.js';
import { BATCH, type UdpRelay } from './relay.js';
import { failed, noteAnswer } from './session.js';
import { type Session, touchSession } from './sessions.js';

/** Datagrams read from one session before others have their turn. */
const MOST_OF_SESSION = 32;

/** How long the loop waits for room in the send buffer of a head, ms. */
const ROOM_MS = 2;

const received: ReceivedControl = { segment: 0, localWord: -1, localWords: 0, device: 0 };

/** struct pollfd: the descriptor, the events asked for in 16 bits, those that occurred (poll(2)). */
const pollHead = pinned(8);
pollHead.bytes.writeInt16LE(POLLOUT, 4);

/** Collects what the target has sent to a client. It leaves together with the replies to others, by {@link sendReplies}. */
export function readReplies(relay: UdpRelay, session: Session): void {
  if (relay.replyHead !== session.head || relay.replyCount + MOST_OF_SESSION > BATCH) sendReplies(relay);
  relay.replyHead = session.head;
  const { replies, replyCount } = relay;
  prepareReceive(replies, replyCount, false);
  const headers = replies.headers.address + replyCount * HEADER_BYTES;
  const count = recvmmsg(session.fd, headers, MOST_OF_SESSION, MSG_DONTWAIT, 0);
  if (count < 0) {
    const failure = errno();
    if (failure !== E.EAGAIN && failure !== E.EINTR) failed(relay, session, failure);
    return;
  }
  if (count === 0) return;
  noteAnswer(relay, session);
  touchSession(relay.sessions, session, relay.loop.now);
  for (let i = replyCount; i < replyCount + count; i++) address(relay, session, i);
  relay.replyCount += count;
}

/** For each collected reply, its segment size, and the bytes of its control messages without that. */
const segments = new Int32Array(BATCH);
const sourceSizes = new Int32Array(BATCH);

/** Sends the collected replies to their clients. */
export function sendReplies(relay: UdpRelay): void {
  const { replies, replyCount, replyHead } = relay;
  relay.replyCount = 0;
  if (replyHead === undefined) return;
  let attempts = 0;
  for (let sent = 0; sent < replyCount; ) {
    const headers = replies.headers.address + sent * HEADER_BYTES;
    const done = sendmmsg(replyHead.fd, headers, replyCount - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (done > 0) {
      sent += done;
      attempts = 0;
      continue;
    }
    const failure = errno();
    const segment = segments[sent] as number;
    if (segment !== 0 && JOINED_ERRORS.has(failure)) {
      relay.dropped += sendPieces(replyHead.fd, replies, {
        i: sent,
        address: bufferOf(replies, sent),
        length: lengthOf(replies, sent),
        segment,
        controlSize: sourceSizes[sent] as number,
      });
      sent += 1;
      continue;
    }
    if (attempts === 0) {
      attempts = 1;
      if (failure === E.EAGAIN) waitForRoom(replyHead.fd);
      // The error is that of an earlier datagram, to some client.
      else drainErrors(relay, replyHead);
      continue;
    }
    relay.dropped += 1;
    attempts = 0;
    sent += 1;
  }
}

/** Turns a received message into one for the client, from the address that the client has called. */
function address(relay: UdpRelay, session: Session, i: number): void {
  const { replies } = relay;
  const at = controlWord(i);
  const { words } = replies.controls;
  const { segment } = parseControl(words, at, controlSizeOf(replies, i), received);
  const { local, device } = session;
  let controlSize = 0;
  if (local !== undefined) {
    controlSize =
      local.length === 1
        ? writeSource4(words, at, local[0] as number, relay.device === undefined ? 0 : device)
        : writeSource6(words, at, local, relay.device !== undefined || isLinkLocal(local) ? device : 0);
  }
  segments[i] = segment;
  sourceSizes[i] = controlSize;
  if (segment !== 0) controlSize += writeSegment(words, at + controlSize / 4, segment);
  const length = lengthOf(replies, i);
  relay.counters.bytesFromTarget += length;
  relay.counters.datagramsFromTarget += segment === 0 ? 1 : Math.ceil(length / segment);
  relay.datagrams += 1;
  prepareSend(replies, i, {
    name: session.client.address,
    nameSize: session.clientSize,
    length,
    controlSize,
  });
}

/** fe80::/10 (RFC 4291, 2.5.6): such an address means nothing without its interface. */
function isLinkLocal(address: Int32Array): boolean {
  return ((address[0] as number) & 0xc0ff) === 0x80fe;
}

/** A sender without a relay would wait for room too, and lose nothing. */
function waitForRoom(fd: number): void {
  pollHead.words[0] = fd;
  poll(pollHead.address, 1, ROOM_MS);
}
