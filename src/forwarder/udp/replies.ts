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
  nameWord,
  prepareReceive,
  prepareSend,
  setVector,
} from './messages.js';
import { JOINED_ERRORS, sendPieces } from './pieces.js';
import { BATCH, type UdpRelay } from './relay.js';
import { addToRuns, clearRuns, createRuns } from './runs.js';
import { failed, noteAnswer, noteTraffic } from './session.js';
import { FEW_REPLIES, type Session } from './sessions.js';

/** Datagrams read from one session before others have their turn, if it has many. */
const MOST_REPLIES = 32;

/** How often a reply is sent again, at most, because of errors of earlier ones, for each of which the kernel refuses one call. */
const MOST_ERRORS = 8;

/** How long the loop waits for room in the send buffer of a head in a round, ms. */
const ROOM_MS = 2;

const received: ReceivedControl = { segment: 0, localWord: -1, localWords: 0, device: 0, hops: 0, error: 0 };

/** struct pollfd: the descriptor, the events asked for in 16 bits, those that occurred (poll(2)). */
const pollHead = pinned(8);
pollHead.bytes.writeInt16LE(POLLOUT, 4);

/** Collects what the target has sent to a client. It leaves together with the replies to others, by {@link sendReplies}. */
export function readReplies(relay: UdpRelay, session: Session): void {
  const most = session.mostReplies;
  if (relay.replyHead !== session.head || relay.replyCount + most > BATCH) {
    // If a head has no room for those that were read before, these wait in the socket, until a later round.
    if (!sendReplies(relay)) return;
    relay.replyHead = session.head;
  }
  const { replies, replyCount } = relay;
  prepareReceive(replies, replyCount, false, replyCount + most);
  const headers = replies.headers.address + replyCount * HEADER_BYTES;
  const count = recvmmsg(session.fd, headers, most, MSG_DONTWAIT, 0);
  if (count < 0) {
    const failure = errno();
    if (failure !== E.EAGAIN && failure !== E.EINTR) failed(relay, session, failure);
    return;
  }
  if (count === 0) return;
  // Room for more than there is costs time. What is left is read in the next round.
  session.mostReplies = count === most ? Math.min(MOST_REPLIES, 4 * most) : Math.max(FEW_REPLIES, count);
  noteAnswer(relay, session);
  noteTraffic(relay, session);
  for (let i = replyCount; i < replyCount + count; i++) collect(relay, session, i, i > replyCount);
  relay.replyCount += count;
}

/** The collected replies; for each message that is to be sent, its session and the bytes of its control messages without the segment size. */
const runs = createRuns();
const runSessions: (Session | undefined)[] = [];
const sourceSizes = new Int32Array(BATCH);

/** Adds a received message to those for clients. It can only be joined to one before it if that is of the same session: `follows`. */
function collect(relay: UdpRelay, session: Session, i: number, follows: boolean): void {
  const { replies, answers, counters } = relay;
  const { segment } = parseControl(
    replies.controls.words,
    controlWord(i),
    controlSizeOf(replies, i),
    received,
  );
  const size = lengthOf(replies, i);
  counters.bytesFromTarget += size;
  counters.datagramsFromTarget += segment === 0 ? 1 : Math.ceil(size / segment);
  relay.datagrams += 1;
  setVector(answers, i, bufferOf(replies, i), size);
  if (!addToRuns(runs, i, { size, segment, mayJoin: follows && session.joinsReplies })) return;
  const run = runs.count - 1;
  runSessions[run] = session;
  // The session may end, and its memory be that of another one, before this is sent.
  const { words } = session.client;
  const nameAt = nameWord(run);
  for (let n = 0; n < session.clientSize / 4; n++) answers.names.words[nameAt + n] = words[n] as number;
  sourceSizes[run] = writeSource(relay, session, controlWord(run));
}

/**
 * Sends the collected replies to their clients. Returns false if the head has no room for some, which are sent next time. A sender without a relay
 * would wait for that too, and lose nothing.
 */
export function sendReplies(relay: UdpRelay): boolean {
  const { answers, replyHead } = relay;
  if (replyHead === undefined) return true;
  for (let run = relay.sentReplies; run < runs.count; run++) {
    const segment = runs.segments[run] as number;
    const controlSize = sourceSizes[run] as number;
    const more =
      segment === 0 ? 0 : writeSegment(answers.controls.words, controlWord(run) + controlSize / 4, segment);
    prepareSend(answers, run, {
      name: answers.names.address + 4 * nameWord(run),
      nameSize: runSessions[run]?.clientSize ?? 0,
      vector: runs.vectors[run] as number,
      count: runs.counts[run] as number,
      controlSize: controlSize + more,
    });
  }
  let hasWaited = false;
  let errors = 0;
  for (let sent = relay.sentReplies; sent < runs.count; ) {
    const headers = answers.headers.address + sent * HEADER_BYTES;
    const done = sendmmsg(replyHead.fd, headers, runs.count - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (done > 0) {
      sent += done;
      hasWaited = false;
      errors = 0;
      continue;
    }
    const failure = errno();
    if (runs.segments[sent] !== 0 && JOINED_ERRORS.has(failure)) {
      relay.dropped += sendReplyPieces(relay, replyHead.fd, sent);
      sent += 1;
      continue;
    }
    if (failure === E.EAGAIN && !hasWaited) {
      hasWaited = true;
      relay.sentReplies = sent;
      if (!hasRoom(relay, replyHead.fd)) return false;
      continue;
    }
    if (failure !== E.EAGAIN && errors < MOST_ERRORS) {
      // The error is that of an earlier datagram, to some client, unless there is none: then it may be that of this one.
      errors = drainErrors(relay, replyHead) ? errors + 1 : MOST_ERRORS;
      continue;
    }
    relay.dropped += runs.counts[sent] as number;
    hasWaited = false;
    errors = 0;
    sent += 1;
  }
  relay.replyCount = 0;
  relay.sentReplies = 0;
  clearRuns(runs);
  return true;
}

/** Sends the replies of a run one by one. Returns how many were not sent. */
function sendReplyPieces({ replies, answers }: UdpRelay, fd: number, run: number): number {
  const vector = runs.vectors[run] as number;
  const count = runs.counts[run] as number;
  const session = runSessions[run];
  if (count > 1 && session !== undefined) session.joinsReplies = false;
  return sendPieces(fd, answers, {
    i: run,
    vector,
    count,
    address: bufferOf(replies, vector),
    length: lengthOf(replies, vector),
    segment: runs.segments[run] as number,
    controlSize: sourceSizes[run] as number,
  });
}

/** Writes what makes a reply leave from the address that the client has called. Returns its bytes, 0 if that goes without saying. */
function writeSource(relay: UdpRelay, { local, device }: Session, at: number): number {
  if (local === undefined) return 0;
  const { words } = relay.answers.controls;
  return local.length === 1
    ? writeSource4(words, at, local[0] as number, relay.device === undefined ? 0 : device)
    : writeSource6(words, at, local, relay.device !== undefined || isLinkLocal(local) ? device : 0);
}

/** fe80::/10 (RFC 4291, 2.5.6): such an address means nothing without its interface. */
function isLinkLocal(address: Int32Array): boolean {
  return ((address[0] as number) & 0xc0ff) === 0x80fe;
}

/**
 * Whether a head has room for another datagram: half of its send buffer is free (sock_writeable() in the kernel). Waits for that once in a round,
 * so that the other clients of the link do not wait for long.
 */
function hasRoom(relay: UdpRelay, fd: number): boolean {
  const { round } = relay.loop;
  pollHead.words[0] = fd;
  poll(pollHead.address, 1, relay.waitedIn === round ? 0 : ROOM_MS);
  relay.waitedIn = round;
  return (pollHead.bytes.readInt16LE(6) & POLLOUT) !== 0;
}
