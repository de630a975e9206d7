import { type Address, localPortOf, peerOf } from './address.js';
import {
  beginNextAttempt,
  endOtherAttempts,
  hasNextTarget,
  noteFailed,
  promoteAttempt,
  STAGGER_MS,
  settleAttempts,
  targetOf,
} from './attempts.js';
import {
  type Connection,
  closeWithReset,
  describeClient,
  giveBack,
  hasUnixEnd,
  leadsToForwarder,
  type Relay,
  takeOver,
} from './connection.js';
import { bindToDevice } from './device.js';
import { describeFailure, isPermanent } from './dial-failure.js';
import { isEphemeral } from './ephemeral-ports.js';
import type { Kind } from './log.js';
import { add, release, scheduleClose } from './loop.js';
import { mustWait } from './named-targets.js';
import { queueHeader } from './proxy-protocol/queue.js';
import {
  disconnect,
  pendingError,
  receiveUrgentInline,
  resetOnClose,
  setKeepAlive,
  setPeerTimeout,
  setStreamOptions,
  socketOption,
} from './socket-options.js';
import { CONNECTED, clearFlags, noteFlags, READING_ERROR } from './store/memory.js';
import {
  AF_UNIX,
  close,
  connect,
  E,
  EPOLLERR,
  EPOLLHUP,
  EPOLLOUT,
  errno,
  errorWords,
  SO_DOMAIN,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  socket,
} from './syscalls.js';
import { start, stop } from './timers.js';

/** The first and the longest delay between two attempts to connect, ms. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 250;

/** How long a connection attempt may hang before the resolver is asked for another address, ms. */
const RESOLVE_AFTER_MS = 1000;

/** How long an attempt to connect a client may hang that another tail can serve, ms. One SYN may get lost. */
const OFFERED_MS = 2000;

/**
 * Starts a non-blocking connect to the target. The socket is used like a connected one at once: writing to it
 * gives EAGAIN until the handshake is complete, and a refusal is reported as EPOLLERR. A connection that
 * succeeds, as nearly all do, costs no event of its own.
 */
export function dial(connection: Connection): void {
  const { relay, target, stored } = connection;
  const { loop, resolver } = relay;
  connection.dialledAt = loop.now;
  if (relay.targetFailed()) {
    // It may run and accept, and not work all the same: its health check says so.
    abort(
      connection,
      'unreachable start',
      `${relay.target} could not be started: see journalctl -u ${relay.starter}`,
    );
    return;
  }
  if (waitsForLookup(connection)) return;
  const to = targetOf(connection);
  connection.dialled = to;
  if (to === undefined) {
    dialFailed(connection, E.EDESTADDRREQ);
    return;
  }
  if (connection.header !== undefined && !queueHeader(connection)) {
    dialFailed(connection, E.EMFILE);
    return;
  }
  if (stored !== undefined && !prepareSpare(connection)) {
    // Killed now, the process would leave a session whose target is unknown.
    stored.store.request();
    connection.failure = E.EAGAIN;
    start(loop.timers, connection.timer, loop.now + FIRST_PAUSE_MS);
    return;
  }
  const fd = stored === undefined ? createSocket(relay, to) : connection.spare;
  if (stored === undefined) {
    target.hasStreamOptions = target.isUnix;
    connection.device = to.device?.text;
  }
  connection.spare = -1;
  if (fd < 0) {
    dialFailed(connection, errno());
    return;
  }
  target.fd = fd;
  // A stored connection has to note that the target has accepted, even if nothing is sent, and one that was offered to tell.
  if (stored !== undefined || connection.offer !== undefined) target.wanted |= EPOLLOUT;
  add(loop, target);
  // The kernel does not watch it, and `refused` has handled that. No SYN has been sent yet.
  if (target.fd < 0) return;
  const failure = connect(fd, to.sockaddr, to.size) < 0 ? errno() : 0;
  if (failure === 0) {
    // Only a unix socket has accepted at once.
    connected(connection);
    return;
  }
  if (failure !== E.EINPROGRESS) {
    dialFailed(connection, failure);
    return;
  }
  if (isEphemeral(to.port) && localPortOf(fd) === to.port) {
    // An orderly close would leave TIME-WAIT, and the target could not bind its port for a minute.
    resetOnClose(fd);
    dialFailed(connection, E.ECONNREFUSED);
    return;
  }
  const resolveAt = resolver === undefined ? connection.deadline : loop.now + pauseOf(connection);
  start(loop.timers, connection.timer, Math.min(connection.deadline, resolveAt, hangsAt(connection)));
}

/** Has a client whose target has a name wait while that is looked up, if it has to: then it is dialled with the answer. */
function waitsForLookup(connection: Connection): boolean {
  const { named, resolver, loop } = connection.relay;
  if (named === undefined || resolver === undefined || connection.candidate > 0) return false;
  if (!mustWait(named, loop.now, resolver.refresh)) return false;
  start(loop.timers, connection.timer, Math.min(connection.deadline, named.waitUntil));
  return true;
}

/** A socket to connect to `to`, or -1: see errno(). */
export function createSocket({ targetTimeout, keepAlive }: Relay, to: Address): number {
  const fd = socket(to.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  if (to.family !== AF_UNIX) receiveUrgentInline(fd);
  if (targetTimeout !== undefined) setPeerTimeout(fd, targetTimeout);
  else if (keepAlive !== undefined && to.family !== AF_UNIX) setKeepAlive(fd, keepAlive);
  if (to.device === undefined || bindToDevice(fd, to.device)) return fd;
  // It succeeds, and leaves errno as it is.
  close(fd);
  return -1;
}

/**
 * Sees to it that a stored connection has a socket for the next attempt to connect. Returns whether that socket is stored,
 * or need not be because there is none.
 */
export function prepareSpare(connection: Connection): boolean {
  const { relay } = connection;
  const to = targetOf(connection);
  if (to === undefined) return true;
  // Only CAP_NET_RAW may bind a socket to another interface (SO_BINDTODEVICE, socket(7)).
  if (
    connection.spare >= 0 &&
    (socketOption(connection.spare, SO_DOMAIN) !== to.family || connection.device !== to.device?.text)
  ) {
    close(connection.spare);
    connection.spare = -1;
    connection.storedTarget = -1;
  }
  if (connection.spare < 0) {
    connection.spare = createSocket(relay, to);
    connection.device = to.device?.text;
    // What is stored is reset however the process and the store end.
    if (connection.spare >= 0) setStreamOptions(connection.spare);
    connection.target.hasStreamOptions = connection.spare >= 0;
  }
  return connection.spare < 0 || connection.spare === connection.storedTarget;
}

/** Ends an attempt to connect. The socket of a stored connection is kept for the next one. */
function endAttempt(connection: Connection): void {
  const { relay, target, stored } = connection;
  if (stored === undefined || target.fd < 0) {
    scheduleClose(relay.loop, target);
    return;
  }
  connection.spare = release(relay.loop, target);
  disconnect(connection.spare);
  // An attempt that was still going on leaves an error, which would be taken for one of the next attempt.
  pendingError(connection.spare);
  clearFlags(stored, READING_ERROR);
}

/** Connects a client to the current target instead of the one that has not answered yet. */
export function redial(connection: Connection): void {
  endAttempt(connection);
  endOtherAttempts(connection);
  connection.candidate = 0;
  if (connection.client.reset) closeWithReset(connection);
  else dial(connection);
}

/**
 * Handles the first event of the socket to the target. Returns true if the target has accepted (it may have
 * sent a reset since), false if it has not and the failure has been handled.
 */
export function checkHandshake(connection: Connection, events: number): boolean {
  if ((events & (EPOLLERR | EPOLLHUP)) !== 0) {
    const { stored } = connection;
    if (stored !== undefined) noteFlags(stored, READING_ERROR);
    const failure = pendingError(connection.target.fd);
    // A reset during the handshake is ECONNREFUSED; a later one is not (tcp_reset() in the kernel). No error
    // at all means that a write after the handshake has consumed it.
    if (failure !== 0 && failure !== E.ECONNRESET && failure !== E.EPIPE) {
      dialFailed(connection, failure);
      return false;
    }
  }
  connected(connection);
  return !connection.closed;
}

/** The target has accepted. If the front forwarder has offered the client to another tail meanwhile, the connection is closed. */
export function connected(connection: Connection): void {
  const { counters, loop, dialTimeout } = connection.relay;
  const { offer } = connection;
  settleAttempts(connection);
  stop(loop.timers, connection.timer);
  if (offer !== undefined) {
    connection.offer = undefined;
    if (!offer.accepted()) {
      giveBack(connection);
      return;
    }
    connection.openedAt = loop.now;
    if (connection.relay.passOn === undefined) takeOver(connection);
  }
  connection.connected = true;
  if (connection.stored !== undefined) noteFlags(connection.stored, CONNECTED);
  else if (hasUnixEnd(connection)) connection.relay.survivors?.opened(connection);
  counters.served += 1;
  // The forwarder of another machine accepts before its target does.
  if (!leadsToForwarder(connection.relay)) counters.failing = 0;
  counters.observeDial(loop.now - connection.dialledAt);
  if (connection.failure !== 0) {
    counters.held += 1;
    counters.heldMs += loop.now - (connection.deadline - dialTimeout);
  }
  if (offer !== undefined) connection.relay.passOn?.(connection);
}

/** Handles a failed attempt to connect: schedules the next one, or gives up. `failure` is errno. */
export function dialFailed(connection: Connection, failure: number): void {
  const { relay } = connection;
  const { loop } = relay;
  endAttempt(connection);
  if (connection.client.reset) {
    closeWithReset(connection);
    return;
  }
  if (dialOther(connection, failure)) return;
  relay.resolver?.refresh();
  relay.restarter?.refresh();
  if (isPermanent(relay, failure) || loop.now >= connection.deadline || isRefusal(connection, failure)) {
    giveUp(connection, failure);
    return;
  }
  connection.failure = failure;
  connection.wait = Math.min(LAST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * connection.wait));
  start(loop.timers, connection.timer, Math.min(connection.deadline, loop.now + connection.wait));
}

/** Whether another tail is to be tried at once. An address that is unknown may be learnt, unless a lookup has failed. */
function isRefusal({ offer, relay }: Connection, failure: number): boolean {
  if (offer === undefined || offer.mayRetry) return false;
  return failure !== E.EDESTADDRREQ || relay.named?.problem !== undefined;
}

/**
 * When an attempt has hung long enough for the client to be offered to another tail, ms, on the clock of the loop; never if no other
 * tail can serve it. Each address of a target with a name has its time.
 */
function hangsAt({ offer, dialledAt, candidate }: Connection): number {
  return offer === undefined ? Number.POSITIVE_INFINITY : dialledAt + OFFERED_MS + candidate * STAGGER_MS;
}

/** Goes on with another address of the target, when one has failed. Returns false if all have been tried. */
function dialOther(connection: Connection, failure: number): boolean {
  const { relay, dialled, deadline } = connection;
  if (relay.named === undefined) return false;
  if (dialled !== undefined) noteFailed(connection, dialled, failure);
  if (relay.loop.now < deadline) {
    if (promoteAttempt(connection)) return true;
    if (hasNextTarget(connection)) {
      connection.candidate += 1;
      dial(connection);
      return true;
    }
  }
  endOtherAttempts(connection);
  connection.candidate = 0;
  return false;
}

/** How long an attempt goes on before another address is tried, or looked up, ms. A stored connection has had all tried once. */
function pauseOf(connection: Connection): number {
  return hasNextTarget(connection) && connection.stored === undefined ? STAGGER_MS : RESOLVE_AFTER_MS;
}

/**
 * Tries the next address of a target that has not answered for a while; after the last one the first again, which may accept by now, or
 * another tail may. A stored connection has one socket, so its attempts follow each other. Returns false if the target has no other
 * address.
 */
function dialNext(connection: Connection): boolean {
  const { relay, stored, deadline, client, offer } = connection;
  const { now, timers } = relay.loop;
  const hasOthers = relay.named !== undefined && relay.named.list.length > 1;
  if (!hasOthers || now >= deadline || client.reset) return false;
  if (!hasNextTarget(connection)) {
    relay.resolver?.refresh();
    if (offer !== undefined) return false;
    connection.candidate = -1;
  }
  if (stored === undefined) {
    beginNextAttempt(connection);
    start(timers, connection.timer, Math.min(deadline, now + pauseOf(connection), hangsAt(connection)));
    return true;
  }
  endAttempt(connection);
  connection.candidate += 1;
  dial(connection);
  return true;
}

/** Handles the timer of a connection whose target is not known to have accepted. */
export function onDialTimer(connection: Connection): void {
  const { target, relay, deadline } = connection;
  const { now, timers } = relay.loop;
  if (target.fd < 0) {
    if (now < deadline) dial(connection);
    else giveUp(connection, connection.failure === 0 ? E.EDESTADDRREQ : connection.failure);
  } else if (peerOf(target.fd) !== undefined) {
    // The target accepted earlier, and neither side has sent anything yet.
    connected(connection);
  } else if (!dialNext(connection)) {
    relay.resolver?.refresh();
    const end = Math.min(deadline, hangsAt(connection));
    // The resolver takes one request a second, and may have ignored this one.
    if (now < end) start(timers, connection.timer, Math.min(end, now + LAST_PAUSE_MS));
    else giveUp(connection, E.ETIMEDOUT);
  }
}

function giveUp(connection: Connection, failure: number): void {
  const { relay } = connection;
  const isOnce = isPermanent(relay, failure) || isRefusal(connection, failure);
  const seconds = isOnce ? '' : ` for ${relay.dialTimeout / 1000} s`;
  const message = `${describeFailure(relay, failure)}${seconds} (${errorWords(failure)})`;
  abort(connection, `unreachable ${failure}`, message);
}

/**
 * Resets both sides and logs `message`. A client could mistake a FIN for an empty answer; a program that sees
 * an error tries again. Clients of the same `kind` within 10 s are counted and logged in one line.
 */
export function abort(connection: Connection, kind: Kind, message: string): void {
  const { relay, client, offer } = connection;
  if (client.reset) {
    closeWithReset(connection);
    return;
  }
  relay.counters.fail(message);
  if (offer !== undefined) {
    // The front forwarder logs it: only that one knows what becomes of the client.
    connection.offer = undefined;
    offer.refused(message);
    giveBack(connection);
    return;
  }
  relay.log.failure(
    kind,
    `${message}; closed the client ${describeClient(connection)}; the next connection tries again`,
    (count) => `${message}; closed ${count} more client${count === 1 ? '' : 's'} in the last 10 s`,
  );
  closeWithReset(connection);
}
