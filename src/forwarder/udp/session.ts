import { addressText } from '../address.js';
import { OUT_OF_RESOURCES } from '../dial-failure.js';
import { add, scheduleClose, unwatch } from '../loop.js';
import { avoid, mustWait, setList } from '../named-targets.js';
import { disconnect, pendingError } from '../socket-options.js';
import { ANSWERED, clearFlags, ENDED, noteDeadline, noteFlags, REFUSED, SERVED } from '../store/memory.js';
import {
  AF_UNIX,
  connect,
  copyFrom,
  E,
  EPOLLERR,
  EPOLLIN,
  errno,
  errorWords,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  pinned,
  sendto,
} from '../syscalls.js';
import { createTimer, start, stop } from '../timers.js';
import { closeStoredFirst, storeFirst } from './first.js';
import { noteActive } from './notes.js';
import { isRefusalOf } from './refusals.js';
import type { UdpRelay } from './relay.js';
import {
  ADDRESS_WORDS,
  addSession,
  type Caller,
  FEW_REPLIES,
  removeSession,
  type Session,
  sessionToEnd,
  touchSession,
} from './sessions.js';
import { createSocket } from './socket.js';

/** The pause before the first datagram is sent again: at first and at most, ms. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 250;

/** A first datagram that has not been refused for this long has arrived, ms: ICMP errors take one round trip. */
const ARRIVED_MS = 1000;

/**
 * A session lasts if a datagram passes when it is this old, or if its target has not answered for a second, ms. It outlives the process then. One
 * short exchange, as with a DNS server, is never stored, and costs nothing.
 */
const LASTING_MS = 500;

/** Bytes of first datagrams that are kept for all sessions together. */
const MOST_KEPT = 4 << 20;

/** Errors that no pause cures: policy, or a machine without this address family. */
const PERMANENT = new Set([E.EACCES, E.EPERM, E.EAFNOSUPPORT, E.EINVAL, E.EPROTONOSUPPORT]);

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
  makeRoom(relay, caller);
  const session = createSession(relay, caller, hash, readReplies);
  keepFirst(relay, session, first);
  openSocket(relay, session);
  return session;
}

/** Creates the session of a caller, without a socket to the target. */
export function createSession(
  relay: UdpRelay,
  caller: Caller,
  hash: number,
  readReplies: ReadReplies,
): Session {
  const { loop, sessions } = relay;
  const client = relay.freeAddresses.pop() ?? pinned(4 * ADDRESS_WORDS);
  for (let i = 0; i < caller.nameWords; i++) client.words[i] = caller.names[caller.nameWord + i] as number;
  const session: Session = {
    openedAt: loop.now,
    isLasting: false,
    stored: undefined,
    fd: -1,
    wanted: EPOLLIN,
    mask: -1,
    changed: false,
    ready: (events) => {
      if ((events & EPOLLERR) !== 0) failed(relay, session, pendingError(session.fd));
      if ((events & EPOLLIN) !== 0 && session.fd >= 0) readReplies(relay, session);
    },
    refused: (failure) => {
      closeSocket(relay, session);
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
    hops: caller.hops,
    to: undefined,
    active: loop.now,
    answered: false,
    isCounted: false,
    first: undefined,
    storedFirst: -1,
    keepsNext: false,
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
  if (relay.expiry.index < 0) start(loop.timers, relay.expiry, loop.now + relay.timeout);
  relay.onOpen();
  return session;
}

/** Ends a session. */
export function endSession(relay: UdpRelay, session: Session): void {
  if (session.ended) return;
  session.ended = true;
  stop(relay.loop.timers, session.timer);
  forgetFirst(relay, session);
  closeSocket(relay, session);
  if (session.stored !== undefined) noteFlags(session.stored, ENDED);
  if (session.isLasting) relay.survivors?.ended(session);
  removeSession(relay.sessions, session);
  relay.freeAddresses.push(session.client);
  relay.counters.open -= 1;
  relay.onClose();
}

/** A datagram of a session has passed. */
export function noteTraffic(relay: UdpRelay, session: Session): void {
  const { now } = relay.loop;
  touchSession(relay.sessions, session, now);
  if (session.stored !== undefined) noteActive(session.stored, now);
  else if (!session.isLasting && now >= session.openedAt + LASTING_MS) outlive(relay, session);
}

/** Has a session outlive the process, if sessions do. */
export function outlive(relay: UdpRelay, session: Session): void {
  if (session.isLasting || relay.survivors === undefined) return;
  session.isLasting = true;
  relay.survivors.opened(session);
}

/** Closes the socket to the target. */
function closeSocket({ loop }: UdpRelay, session: Session): void {
  if (session.fd >= 0 && session.stored !== undefined) {
    // The service manager has a duplicate, with which it would still receive, and have events.
    unwatch(loop, session);
    disconnect(session.fd);
  }
  scheduleClose(loop, session);
}

/** The target has answered, so the first datagram has arrived. */
export function noteAnswer(relay: UdpRelay, session: Session): void {
  if (!session.answered && session.stored !== undefined) noteFlags(session.stored, ANSWERED);
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
  if (session.stored !== undefined) {
    noteDeadline(session.stored, session.deadline);
    if (storeFirst(session)) session.stored.store.request();
  }
  start(relay.loop.timers, session.timer, relay.loop.now + ARRIVED_MS);
}

/** Keeps the datagram that follows one which has not reached the target, unless this has answered since. */
export function keepNext(relay: UdpRelay, session: Session, datagram: Datagram): void {
  session.keepsNext = false;
  if (!session.answered) keepFirst(relay, session, datagram);
}

/** Goes on with the first datagram of a session of an earlier process: it is sent again now if it has been refused, or has been sent. */
export function resumeFirst(relay: UdpRelay, session: Session, first: Buffer, isRefused: boolean): void {
  session.first = first;
  relay.kept += first.length;
  session.pause = isRefused ? FIRST_PAUSE_MS : 0;
  start(relay.loop.timers, session.timer, relay.loop.now + (isRefused ? 0 : ARRIVED_MS));
}

/** Deals with an error of the target's socket: of a datagram that was sent before, or of one that could not be sent. */
export function failed(relay: UdpRelay, session: Session, failure: number): void {
  const { stored } = session;
  // Before the error is gone, which the next process would see if this one is killed.
  if (stored !== undefined && session.first !== undefined) noteFlags(stored, REFUSED);
  const isOfFirst = session.fd < 0 || isRefusalOf(session.fd, session.first);
  if (stored !== undefined && session.pause === 0 && (failure === 0 || !isOfFirst))
    clearFlags(stored, REFUSED);
  if (failure === 0) return;
  // The socket that it was connected to is gone; the next datagram connects to another one at the same address.
  if (relay.to?.family === AF_UNIX) closeSocket(relay, session);
  // A later datagram is lost, as it is without a relay.
  if (session.answered || (session.first !== undefined && !isOfFirst)) return;
  if (failure === E.EMSGSIZE) {
    handleTooLarge(relay, session);
    return;
  }
  // What this machine lacks says nothing about the target.
  if (!OUT_OF_RESOURCES.has(failure)) {
    relay.resolver?.refresh();
    relay.restarter?.refresh();
    useOtherAddress(relay, session, failure);
  }
  const { loop } = relay;
  const isGivenUp = session.first !== undefined && (loop.now >= session.deadline || PERMANENT.has(failure));
  if (isGivenUp || relay.targetFailed()) {
    logFailure(relay, session, failure);
    endSession(relay, session);
    return;
  }
  if (session.first === undefined) {
    logFailure(relay, session, failure);
    // A target that never answers, such as a collector of logs, sees the next one come from the same port, as without a relay.
    session.keepsNext = true;
    return;
  }
  sendFirstLater(relay, session);
}

/**
 * A datagram is larger than the way to the target takes, which is no fault of the target's. The kernel knows the MTU of that way by now, and
 * sends the first one in fragments the next time, unless it is larger than any datagram may be.
 */
function handleTooLarge(relay: UdpRelay, session: Session): void {
  if (session.first === undefined) return;
  if (relay.loop.now < session.deadline) {
    sendFirstLater(relay, session);
    return;
  }
  relay.dropped += 1;
  forgetFirst(relay, session);
}

function sendFirstLater(relay: UdpRelay, session: Session): void {
  const { loop } = relay;
  session.pause = Math.min(LAST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * session.pause));
  if (session.stored !== undefined) noteFlags(session.stored, REFUSED);
  start(loop.timers, session.timer, Math.min(session.deadline, loop.now + session.pause));
  if (loop.now >= session.openedAt + ARRIVED_MS) outlive(relay, session);
}

/** Connects a session again whose socket was closed, since the unix socket of its target is gone, or since its target has another address. */
export function reconnect(relay: UdpRelay, session: Session): void {
  // While the first datagram waits for the target, the timer does so.
  const isWaiting = session.first !== undefined && session.pause !== 0;
  if (session.fd < 0 && !isWaiting && !session.ended) openSocket(relay, session);
}

/** Connects the sockets of sessions that have had no answer to the target that the relay has now. */
export function reconnectSessions(relay: UdpRelay): void {
  for (let session = relay.sessions.oldest; session !== undefined; ) {
    const next = session.newer;
    if (!session.answered) {
      closeSocket(relay, session);
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
  if (session.to === undefined || failure === E.EDESTADDRREQ) return;
  avoid(named, session.to, loop.now);
  setList(named, named.list, loop.now);
  relay.to = named.list[0];
  if (relay.to?.text !== session.to.text) closeSocket(relay, session);
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
  const fd = createSocket(to, session.hops);
  if (fd < 0) {
    failed(relay, session, -fd);
    return;
  }
  session.fd = fd;
  const failure = connect(fd, to.sockaddr, to.size) < 0 ? errno() : 0;
  session.wanted = EPOLLIN;
  add(loop, session);
  if (failure === 0) session.stored?.store.request();
  if (session.fd < 0 || failure === 0) return;
  closeSocket(relay, session);
  failed(relay, session, failure);
}

/** Called when the timer of a session fires: the first datagram has arrived, or is to be sent again. */
function firstTimer(relay: UdpRelay, session: Session): void {
  if (session.pause === 0 && session.fd >= 0) {
    // Nothing has refused it for a while.
    noteArrival(relay, session);
    forgetFirst(relay, session);
    outlive(relay, session);
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
  if (session.stored !== undefined) clearFlags(session.stored, REFUSED);
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
  if (session.stored !== undefined) noteFlags(session.stored, SERVED);
  counters.served += 1;
  counters.failing = 0;
}

function forgetFirst(relay: UdpRelay, session: Session): void {
  if (session.first === undefined) return;
  relay.kept -= session.first.length;
  session.first = undefined;
  session.pause = 0;
  closeStoredFirst(session);
  if (session.stored !== undefined) clearFlags(session.stored, REFUSED);
}

/** Ends a session if there are too many for that of a new client. */
function makeRoom(relay: UdpRelay, caller: Caller): void {
  const { sessions, maxSessions, log } = relay;
  if (sessions.count < maxSessions) return;
  const ended = sessionToEnd(sessions, caller, maxSessions);
  if (ended === undefined) return;
  endSession(relay, ended);
  const message = `${maxSessions} clients have a session, which is the limit (--max-sessions); each new one ends the session that has been quiet the longest, of its own address if that has an eighth of them`;
  log.failure('limited sessions', message, (count) => `${message}: ${count} more in the last 10 s`);
}

function logFailure(relay: UdpRelay, session: Session, failure: number): void {
  const { target, log, dialTimeout, starter, counters } = relay;
  const lasted = session.first === undefined ? 'just now' : `for ${dialTimeout / 1000} s`;
  const reason = relay.targetFailed()
    ? `${target} could not be started: see journalctl -u ${starter}`
    : `${describeFailure(relay, failure)} ${lasted} (${errorWords(failure)})`;
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
