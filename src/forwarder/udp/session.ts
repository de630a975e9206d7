import { addressText } from '../address.js';
import { bindToDevice } from '../device.js';
import { OUT_OF_RESOURCES } from '../dial-failure.js';
import { add, scheduleClose } from '../loop.js';
import { avoid, mustWait, setList } from '../named-targets.js';
import { pendingError } from '../socket-options.js';
import {
  AF_INET,
  AF_UNIX,
  close,
  connect,
  copyFrom,
  E,
  EPOLLERR,
  EPOLLIN,
  errno,
  errorWords,
  IP_RECVERR,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_RECVERR,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  pinned,
  SO_PASSCRED,
  SO_RCVBUF,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  SOL_UDP,
  sendto,
  setsockopt,
  socket,
  UDP_GRO,
} from '../syscalls.js';
import { createTimer, start, stop } from '../timers.js';
import { isRefusalOf } from './refusals.js';
import type { UdpRelay } from './relay.js';
import {
  ADDRESS_WORDS,
  addSession,
  type Caller,
  FEW_REPLIES,
  removeSession,
  type Session,
} from './sessions.js';

/** The pause before the first datagram is sent again: at first and at most, ms. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 250;

/** A first datagram that has not been refused for this long has arrived, ms: ICMP errors take one round trip. */
const ARRIVED_MS = 1000;

/** Bytes of first datagrams that are kept for all sessions together. */
const MOST_KEPT = 4 << 20;

/** Errors that no pause cures: policy, or a machine without this address family. */
const PERMANENT = new Set([E.EACCES, E.EPERM, E.EAFNOSUPPORT, E.EINVAL, E.EPROTONOSUPPORT]);

/** The receive buffer of a session, bytes: as much as net.core.rmem_max allows (socket(7)). */
const RECEIVE_BYTES = 4 << 20;

const value = pinned(4);

/** What the target's socket of a session does when it has something to read. */
export type ReadReplies = (relay: UdpRelay, session: Session) => void;

/** A datagram in memory. */
export interface Datagram {
  readonly address: number;
  readonly size: number;
}

/** Begins the session of a caller. Its first datagram is kept, and sent again while the target refuses it. */
export function beginSession(
  relay: UdpRelay,
  caller: Caller,
  hash: number,
  first: Datagram,
  readReplies: ReadReplies,
): Session {
  const { loop, sessions } = relay;
  makeRoom(relay);
  const client = relay.freeAddresses.pop() ?? pinned(4 * ADDRESS_WORDS);
  for (let i = 0; i < caller.nameWords; i++) client.words[i] = caller.names[caller.nameWord + i] as number;
  const session: Session = {
    fd: -1,
    wanted: EPOLLIN,
    mask: -1,
    changed: false,
    ready: (events) => {
      if ((events & EPOLLERR) !== 0) failed(relay, session, pendingError(session.fd));
      if ((events & EPOLLIN) !== 0 && session.fd >= 0) readReplies(relay, session);
    },
    refused: (failure) => {
      scheduleClose(loop, session);
      failed(relay, session, failure);
    },
    head: caller.head,
    client,
    clientSize: 4 * caller.nameWords,
    local:
      caller.localWords === 0
        ? undefined
        : caller.controls.slice(caller.localWord, caller.localWord + caller.localWords),
    device: caller.device,
    to: undefined,
    active: loop.now,
    answered: false,
    isCounted: false,
    first: undefined,
    deadline: loop.now + relay.dialTimeout,
    timer: createTimer(() => firstTimer(relay, session)),
    pause: 0,
    older: undefined,
    newer: undefined,
    sibling: undefined,
    hash,
    batchFirst: -1,
    batchLast: -1,
    joinsRequests: relay.to?.family !== AF_UNIX,
    joinsReplies: true,
    mostReplies: FEW_REPLIES,
    ended: false,
  };
  addSession(sessions, session);
  relay.counters.open += 1;
  keepFirst(relay, session, first);
  if (relay.expiry.index < 0) start(loop.timers, relay.expiry, loop.now + relay.timeout);
  relay.onOpen();
  openSocket(relay, session);
  return session;
}

/** Ends a session. */
export function endSession(relay: UdpRelay, session: Session): void {
  if (session.ended) return;
  session.ended = true;
  stop(relay.loop.timers, session.timer);
  forgetFirst(relay, session);
  scheduleClose(relay.loop, session);
  removeSession(relay.sessions, session);
  relay.freeAddresses.push(session.client);
  relay.counters.open -= 1;
  relay.onClose();
}

/** The target has answered, so the first datagram has arrived. */
export function noteAnswer(relay: UdpRelay, session: Session): void {
  session.answered = true;
  noteArrival(relay, session);
  stop(relay.loop.timers, session.timer);
  forgetFirst(relay, session);
}

/** Keeps a datagram of a session whose target has not answered, to be sent again while the target refuses it. */
export function keepFirst(relay: UdpRelay, session: Session, { address, size }: Datagram): void {
  if (relay.kept + size > MOST_KEPT) return;
  session.first = copyFrom(address, size);
  relay.kept += size;
  session.deadline = relay.loop.now + relay.dialTimeout;
  start(relay.loop.timers, session.timer, relay.loop.now + ARRIVED_MS);
}

/** Deals with an error of the target's socket: of a datagram that was sent before, or of one that could not be sent. */
export function failed(relay: UdpRelay, session: Session, failure: number): void {
  const isOfFirst = session.fd < 0 || isRefusalOf(session.fd, session.first);
  if (failure === 0) return;
  // The socket that it was connected to is gone; the next datagram connects to another one at the same address.
  if (relay.to?.family === AF_UNIX) scheduleClose(relay.loop, session);
  // A later datagram is lost, as it is without a relay.
  if (session.answered || (session.first !== undefined && !isOfFirst)) return;
  relay.resolver?.refresh();
  relay.restarter?.refresh();
  useOtherAddress(relay, session, failure);
  const { loop } = relay;
  const isOver = relay.targetFailed() || loop.now >= session.deadline || PERMANENT.has(failure);
  if (session.first === undefined || isOver) {
    logFailure(relay, session, failure);
    endSession(relay, session);
    return;
  }
  session.pause = Math.min(LAST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * session.pause));
  start(loop.timers, session.timer, Math.min(session.deadline, loop.now + session.pause));
}

/** Connects a session whose target is a unix socket again, once the one that it was connected to is gone. */
export function reconnect(relay: UdpRelay, session: Session): void {
  if (session.fd < 0 && session.first === undefined && !session.ended) openSocket(relay, session);
}

/** Connects the sockets of sessions that have had no answer to the target that the relay has now. */
export function reconnectSessions(relay: UdpRelay): void {
  for (let session = relay.sessions.oldest; session !== undefined; ) {
    const next = session.newer;
    if (!session.answered) {
      scheduleClose(relay.loop, session);
      openSocket(relay, session);
      if (session.fd >= 0) sendFirst(relay, session);
    }
    session = next;
  }
}

/** Has a session whose target has refused, and those that are yet to come, use another address of its name, if there is one. */
function useOtherAddress(relay: UdpRelay, session: Session, failure: number): void {
  const { named, loop } = relay;
  if (named === undefined || named.list.length < 2) return;
  if (session.to === undefined || failure === E.EDESTADDRREQ || OUT_OF_RESOURCES.has(failure)) return;
  avoid(named, session.to, loop.now);
  setList(named, named.list, loop.now);
  relay.to = named.list[0];
  if (relay.to?.text !== session.to.text) scheduleClose(loop, session);
}

/** Whether the addresses of the target are too old, and are being looked up. */
function waitsForLookup({ named, resolver, loop }: UdpRelay): boolean {
  return named !== undefined && resolver !== undefined && mustWait(named, loop.now, resolver.refresh);
}

function openSocket(relay: UdpRelay, session: Session): void {
  const { to, loop } = relay;
  session.to = to;
  if (to === undefined || waitsForLookup(relay)) {
    failed(relay, session, E.EDESTADDRREQ);
    return;
  }
  const fd = socket(to.family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    failed(relay, session, errno());
    return;
  }
  const isUnix = to.family === AF_UNIX;
  value.words[0] = RECEIVE_BYTES;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, value.address, 4);
  value.words[0] = 1;
  // The kernel gives the socket a name when it is connected (unix(7)), without which the target could not answer.
  if (isUnix) setsockopt(fd, SOL_SOCKET, SO_PASSCRED, value.address, 4);
  if (!isUnix) setsockopt(fd, SOL_UDP, UDP_GRO, value.address, 4);
  // The kernel tells then which datagram was refused.
  if (to.family === AF_INET) setsockopt(fd, IPPROTO_IP, IP_RECVERR, value.address, 4);
  else if (!isUnix) setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, value.address, 4);
  if (to.device !== undefined && !bindToDevice(fd, to.device)) {
    const refusal = errno();
    close(fd);
    failed(relay, session, refusal);
    return;
  }
  session.fd = fd;
  const failure = connect(fd, to.sockaddr, to.size) < 0 ? errno() : 0;
  session.wanted = EPOLLIN;
  add(loop, session);
  if (session.fd < 0 || failure === 0) return;
  scheduleClose(loop, session);
  failed(relay, session, failure);
}

/** Called when the timer of a session fires: the first datagram has arrived, or is to be sent again. */
function firstTimer(relay: UdpRelay, session: Session): void {
  if (session.pause === 0 && session.fd >= 0) {
    // Nothing has refused it for a while.
    noteArrival(relay, session);
    forgetFirst(relay, session);
    return;
  }
  if (session.fd < 0) openSocket(relay, session);
  if (session.fd >= 0) sendFirst(relay, session);
}

function sendFirst(relay: UdpRelay, session: Session): void {
  const { first, fd } = session;
  if (first === undefined) return;
  const flags = MSG_NOSIGNAL | MSG_DONTWAIT;
  // The error of an earlier datagram is reported once, and keeps this one from being sent.
  const isSent =
    sendto(fd, first, first.length, flags, 0, 0) >= 0 || sendto(fd, first, first.length, flags, 0, 0) >= 0;
  if (!isSent) {
    failed(relay, session, errno());
    return;
  }
  session.pause = 0;
  start(relay.loop.timers, session.timer, relay.loop.now + ARRIVED_MS);
}

/** Sends the first datagram again if the target has refused it, so that it is the first to arrive. */
export function sendFirstAgain(relay: UdpRelay, session: Session): void {
  if (session.pause !== 0 && session.fd >= 0) sendFirst(relay, session);
}

/** Counts a session whose first datagram has arrived. */
function noteArrival({ counters }: UdpRelay, session: Session): void {
  if (session.isCounted) return;
  session.isCounted = true;
  counters.served += 1;
  counters.failing = 0;
}

function forgetFirst(relay: UdpRelay, session: Session): void {
  relay.kept -= session.first?.length ?? 0;
  session.first = undefined;
}

/** Ends the session that has been quiet the longest if there are too many. */
function makeRoom(relay: UdpRelay): void {
  const { sessions, maxSessions, log } = relay;
  if (sessions.count < maxSessions || sessions.oldest === undefined) return;
  endSession(relay, sessions.oldest);
  const message = `${maxSessions} clients have a session, which is the limit (--max-sessions); each new one ends the session that has been quiet the longest`;
  log.failure('limited sessions', message, (count) => `${message}: ${count} more in the last 10 s`);
}

function logFailure(relay: UdpRelay, session: Session, failure: number): void {
  const { target, log, dialTimeout, starter, counters } = relay;
  const reason = relay.targetFailed()
    ? `${target} could not be started: see journalctl -u ${starter}`
    : `${describeFailure(relay, failure)} for ${dialTimeout / 1000} s (${errorWords(failure)})`;
  counters.fail(reason);
  log.failure(
    `unreachable datagram ${failure}`,
    `${reason}; dropped what ${addressText(session.client.bytes)} has sent; its next datagram tries again`,
    (count) => `${reason}; dropped what ${count} more client${count === 1 ? '' : 's'} sent in the last 10 s`,
  );
}

function describeFailure({ target, named }: UdpRelay, failure: number): string {
  if (failure === E.EDESTADDRREQ)
    return `no address of ${target} was known${named?.problem === undefined ? '' : `: ${named.problem},`}`;
  return failure === E.ECONNREFUSED ? `${target} refused datagrams` : `${target} was unreachable`;
}
