import { isAllowedAt } from '../access.js';
import { addressText } from '../address.js';
import { type Device, indexOf } from '../device.js';
import { OUT_OF_RESOURCES } from '../dial-failure.js';
import {
  E,
  errno,
  getsockopt,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  pinned,
  recvmmsg,
  SO_MEMINFO,
  SOL_SOCKET,
  sendmmsg,
} from '../syscalls.js';
import { parseControl, type ReceivedControl, writeSegment } from './control.js';
import { drainErrors } from './errors.js';
import {
  bufferOf,
  controlSizeOf,
  controlWord,
  HEADER_BYTES,
  lengthOf,
  nameSizeOf,
  nameWord,
  prepareReceive,
  prepareSend,
  setVector,
} from './messages.js';
import { JOINED_ERRORS, sendPieces } from './pieces.js';
import { BATCH, type UdpRelay } from './relay.js';
import { addToRuns, clearRuns, createRuns } from './runs.js';
import {
  beginSession,
  type Datagram,
  failed,
  keepFirst,
  keepNext,
  noteTraffic,
  type ReadReplies,
  reconnect,
  sendFirstAgain,
} from './session.js';
import { type Caller, findSession, type Head, hashOf, type Session } from './sessions.js';

/** Batches read from one head before others have their turn. */
const MOST_BATCHES = 4;

/**
 * Full batches in a row after which the head counts as flooded if its queue in the kernel is also half full: clients are about to
 * lose datagrams whatever this process does. While that is so none of several clients gets more than its share of a batch, so that
 * the queue is emptied faster, and those who send little lose nothing.
 */
const FLOODED = 16;

/** Datagrams of one client that a batch of a flooded head passes on. */
const SHARE = 4;

const MESSAGE_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL;

const received: ReceivedControl = { segment: 0, localWord: -1, localWords: 0, device: 0, hops: 0, error: 0 };

/** What SO_MEMINFO gives of a socket. */
const QUEUE_WORDS = 9;
const queue = pinned(4 * QUEUE_WORDS);
const queueSize = pinned(4);

/** For each message of a batch, the next one of the same client, and its segment size. */
const nextOfClient = new Int32Array(BATCH);

/** What is sent to one target, and for each vector the received message whose bytes it has. */
const runs = createRuns();
const sources = new Int32Array(BATCH);
const segments = new Int32Array(BATCH);

/** Passes on what clients have sent to a head. Returns whether it has read anything. */
export function readRequests(relay: UdpRelay, head: Head, readReplies: ReadReplies): boolean {
  const { requests } = relay;
  let hasRead = false;
  for (let batch = 0; batch < MOST_BATCHES; batch++) {
    prepareReceive(requests, 0, true);
    const count = recvmmsg(head.fd, requests.headers.address, BATCH, MSG_DONTWAIT, 0);
    if (count < 0) {
      const failure = errno();
      if (failure === E.EAGAIN) relay.fullBatches = 0;
      // An ICMP error about an answer to some client.
      else if (failure !== E.EINTR) drainErrors(relay, head);
      break;
    }
    hasRead = true;
    relay.fullBatches = count === BATCH ? relay.fullBatches + 1 : 0;
    forward(relay, head, count, readReplies);
    if (count < BATCH) break;
  }
  return hasRead;
}

function forward(relay: UdpRelay, head: Head, count: number, readReplies: ReadReplies): void {
  // A session may go on for ever, and only one that the target has answered stays with its address.
  if (relay.named !== undefined && relay.loop.now >= relay.named.expiresAt) relay.resolver?.refresh();
  const senders = groupByClient(relay, head, count, readReplies);
  const isFlooded = relay.fullBatches >= FLOODED && senders.length > 1 && isHalfFull(head);
  for (const session of senders) {
    const first = session.batchFirst;
    session.batchFirst = -1;
    if (session.keepsNext) keepNext(relay, session, datagramOf(relay, first));
    reconnect(relay, session);
    if (!session.ended && session.fd >= 0) send(relay, session, first, isFlooded ? SHARE : BATCH);
  }
}

/** Whether the queue of a head takes up half of its receive buffer. A kernel that does not tell (before Linux 4.12) counts as one. */
function isHalfFull({ fd }: Head): boolean {
  queueSize.words[0] = 4 * QUEUE_WORDS;
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, queue.address, queueSize.address) < 0) return true;
  // SK_MEMINFO_RMEM_ALLOC and SK_MEMINFO_RCVBUF (linux/sock_diag.h).
  return 2 * (queue.words[0] as number) >= (queue.words[1] as number);
}

/** Links the messages of each client, and begins sessions for new clients. Returns the sessions, in the order of arrival. */
function groupByClient(relay: UdpRelay, head: Head, count: number, readReplies: ReadReplies): Session[] {
  const { requests, sessions } = relay;
  const senders: Session[] = [];
  for (let i = 0; i < count; i++) {
    const nameAt = nameWord(i);
    if (relay.access !== undefined && !isAllowedAt(relay.access, requests.names.words, nameAt)) {
      rejectDatagram(relay, nameAt);
      continue;
    }
    parseControl(requests.controls.words, controlWord(i), controlSizeOf(requests, i), received);
    if (relay.device !== undefined && !isThrough(head, relay.device, received.device)) {
      rejectOutside(relay, relay.device, nameAt);
      continue;
    }
    if (received.hops === 1) {
      dropAtEnd(relay, nameAt);
      continue;
    }
    segments[i] = received.segment;
    const caller: Caller = {
      head,
      names: requests.names.words,
      nameWord: nameAt,
      nameWords: nameSizeOf(requests, i) / 4,
      controls: requests.controls.words,
      localWord: received.localWord,
      localWords: head.tellsLocal ? received.localWords : 0,
      device: received.device,
      hops: received.hops,
    };
    const size = lengthOf(requests, i);
    relay.counters.bytesFromClients += size;
    relay.counters.datagramsFromClients += received.segment ? Math.ceil(size / received.segment) : 1;
    const hash = hashOf(sessions, caller);
    let session = findSession(sessions, caller, hash);
    if (session === undefined) {
      const first = { address: bufferOf(requests, i), size: received.segment || size };
      session = beginSession(relay, caller, hash, first, readReplies);
    } else {
      noteTraffic(relay, session);
    }
    nextOfClient[i] = -1;
    if (session.batchFirst < 0) {
      session.batchFirst = i;
      senders.push(session);
    } else {
      nextOfClient[session.batchLast] = i;
    }
    session.batchLast = i;
  }
  return senders;
}

/** Sends the messages of a client to the target, at most `most` of them. */
function send(relay: UdpRelay, session: Session, first: number, most: number): void {
  const { forwarded } = relay;
  prepareForwarded(relay, session, first, most);
  sendFirstAgain(relay, session);
  if (session.fd < 0) return;
  let hasFailed = false;
  for (let sent = 0; sent < runs.count; ) {
    const headers = forwarded.headers.address + sent * HEADER_BYTES;
    const done = sendmmsg(session.fd, headers, runs.count - sent, MESSAGE_FLAGS);
    if (done > 0) {
      sent += done;
      continue;
    }
    const failure = errno();
    if (runs.segments[sent] !== 0 && JOINED_ERRORS.has(failure)) {
      relay.dropped += sendForwardedPieces(relay, session, sent);
      sent += 1;
      continue;
    }
    // The error of an earlier datagram is reported once, and keeps this one from being sent.
    if (!hasFailed && failure !== E.EAGAIN && !OUT_OF_RESOURCES.has(failure)) {
      hasFailed = true;
      if (session.first === undefined && !session.answered) keepFirst(relay, session, firstOf(relay, sent));
      else failed(relay, session, failure);
      sendFirstAgain(relay, session);
      if (session.fd < 0) return;
      continue;
    }
    // The queue of the device is full (ENOBUFS, of which a socket without IP_RECVERR does not tell), or the datagram does not fit: it is lost, as on
    // the way of any datagram.
    hasFailed = false;
    relay.dropped += runs.counts[sent] as number;
    sent += 1;
  }
}

/** Joins the messages of a client in `runs`, and prepares these to be sent. */
function prepareForwarded(relay: UdpRelay, session: Session, first: number, most: number): void {
  const { requests, forwarded } = relay;
  clearRuns(runs);
  let count = 0;
  for (let i = first; i >= 0; i = nextOfClient[i] as number) {
    if (count === most) {
      relay.dropped += 1;
      continue;
    }
    const size = lengthOf(requests, i);
    sources[count] = i;
    setVector(forwarded, count, bufferOf(requests, i), size);
    addToRuns(runs, count, { size, segment: segments[i] as number, mayJoin: session.joinsRequests });
    count += 1;
  }
  relay.datagrams += count;
  for (let i = 0; i < runs.count; i++) {
    const segment = runs.segments[i] as number;
    prepareSend(forwarded, i, {
      name: 0,
      nameSize: 0,
      vector: runs.vectors[i] as number,
      count: runs.counts[i] as number,
      controlSize: segment === 0 ? 0 : writeSegment(forwarded.controls.words, controlWord(i), segment),
    });
  }
}

/** The first datagram of a run. */
function firstOf(relay: UdpRelay, run: number): Datagram {
  return datagramOf(relay, sources[runs.vectors[run] as number] as number);
}

/** The datagram that has been received as message `i`, the first of those that the kernel has joined. */
function datagramOf({ requests }: UdpRelay, i: number): Datagram {
  return { address: bufferOf(requests, i), size: (segments[i] as number) || lengthOf(requests, i) };
}

/** Sends the datagrams of a run one by one. Returns how many were not sent. */
function sendForwardedPieces({ requests, forwarded }: UdpRelay, session: Session, run: number): number {
  const vector = runs.vectors[run] as number;
  const count = runs.counts[run] as number;
  const source = sources[vector] as number;
  if (count > 1) session.joinsRequests = false;
  return sendPieces(session.fd, forwarded, {
    i: run,
    vector,
    count,
    address: bufferOf(requests, source),
    length: lengthOf(requests, source),
    segment: runs.segments[run] as number,
    controlSize: 0,
  });
}

/** Whether a datagram has come through the only interface through which clients are served. */
function isThrough(head: Head, device: Device, arrived: number): boolean {
  // It may have been created again since.
  if (head.device !== arrived) head.device = indexOf(head.fd, device);
  return head.device !== 0 && head.device === arrived;
}

function rejectOutside({ counters, requests, log }: UdpRelay, { text }: Device, nameAt: number): void {
  counters.denied += 1;
  const client = addressText(requests.names.bytes.subarray(4 * nameAt));
  const rule = `it has not come through interface ${text}`;
  log.failure(
    'refused outside',
    `dropped a datagram of ${client}: ${rule}`,
    (count) => `dropped ${count} more datagram${count === 1 ? '' : 's'} in the last 10 s: ${rule}`,
  );
}

/** A router would not pass on such a datagram either. Links that lead back to each other would, for ever. */
function dropAtEnd(relay: UdpRelay, nameAt: number): void {
  const { log, requests } = relay;
  relay.dropped += 1;
  const reason = 'as many links and routers as it may (TTL, hop limit); do links lead back to this one?';
  const client = addressText(requests.names.bytes.subarray(4 * nameAt));
  log.failure(
    'dropped hops',
    `dropped a datagram of ${client}: it has passed ${reason}`,
    (count) =>
      `dropped ${count} more datagram${count === 1 ? '' : 's'} in the last 10 s that had passed ${reason}`,
  );
}

function rejectDatagram(relay: UdpRelay, nameAt: number): void {
  const { access, log, requests } = relay;
  relay.counters.denied += 1;
  const rule = `this head serves ${access?.address} only`;
  const client = addressText(requests.names.bytes.subarray(4 * nameAt));
  log.failure(
    'refused',
    `dropped a datagram of ${client}: ${rule}`,
    (count) => `dropped ${count} more datagram${count === 1 ? '' : 's'} in the last 10 s: ${rule}`,
  );
}
