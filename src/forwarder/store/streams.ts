import { peerOf } from '../address.js';
import { endOtherAttempts } from '../attempts.js';
import {
  type Connection,
  close,
  type End,
  empty,
  type Flow,
  hasUnixEnd,
  READABLE,
  type Relay,
} from '../connection.js';
import { connected, prepareSpare } from '../dial.js';
import { lost, passReset } from '../flow.js';
import { add } from '../loop.js';
import { createPipe } from '../pipes.js';
import { createConnection, opened } from '../serve.js';
import {
  disconnect,
  pendingError,
  setKeepAlive,
  setPeerTimeout,
  setStreamOptions,
  socketOption,
} from '../socket-options.js';
import {
  AF_UNIX,
  close as closeDescriptor,
  E,
  EPOLLOUT,
  FIONREAD,
  ioctl,
  MSG_DONTWAIT,
  pinned,
  recvmsg,
  SHUT_WR,
  SO_DOMAIN,
  shutdown,
} from '../syscalls.js';
import { bytesReceived, isClosed } from '../tcp-info.js';
import { start } from '../timers.js';
import {
  CLIENT_RESET,
  CONNECTED,
  DOWN_DONE,
  DOWN_FIN,
  deadlineOf,
  type FlowNotes,
  flagsOf,
  flowNotes,
  isUrgentTwice,
  type Notes,
  noteDeadline,
  noteDescriptors,
  noteFlags,
  noteHeld,
  noteOwn,
  noteUnstored,
  openedAt,
  ownOf,
  READING_ERROR,
  removalOf,
  TARGET_RESET,
  UP,
  UP_DONE,
  UP_FIN,
} from './memory.js';
import type { Remains } from './open.js';
import type { Kind, Stored } from './store.js';

/** How a connection is stored: the socket of the client, that to the target if there is one, and the pipes with bytes. */
export const streams: Kind<Connection> = {
  code: 1,
  prepare: prepareConnection,
  descriptors(connection) {
    const { client, target, spare } = connection;
    connection.storedTarget = target.fd >= 0 ? target.fd : spare;
    if (connection.stored !== undefined)
      noteDescriptors(connection.stored, client.fd, connection.storedTarget);
    return connection.storedTarget < 0 ? [client.fd] : [client.fd, connection.storedTarget];
  },
  pipes: ({ up, down }) => [up.pipe, down.pipe].filter((pipe) => pipe !== undefined),
};

/** The word of its own in which a connection notes the bytes of the PROXY header that it has read from its client. */
const HEADER_BYTES = 2;

function prepareConnection(connection: Connection, stored: Stored): void {
  const { client, target, up, down } = connection;
  for (const end of [client, target]) {
    if (end.hasStreamOptions || end.fd < 0) continue;
    setStreamOptions(end.fd);
    end.hasStreamOptions = true;
  }
  // It has one socket to the target.
  endOtherAttempts(connection);
  if (target.fd < 0) prepareSpare(connection);
  // A later process could not tell a target that has accepted and is gone from one that has never accepted.
  else if (!connection.connected && peerOf(target.fd) !== undefined) connected(connection);
  noteDeadline(stored, connection.deadline);
  for (const { part, pipe, bytes } of [up, down]) noteHeld(stored, part, pipe?.id ?? 0, bytes);
  noteFlags(stored, flags(connection));
  noteOwn(stored, HEADER_BYTES, client.headerBytes);
  // Bytes of the client must not reach the target without it.
  if (connection.header !== undefined) noteUnstored(stored, UP);
}

function flags({ connected, client, target, up, down }: Connection): number {
  return (
    (connected ? CONNECTED : 0) |
    (client.reset ? CLIENT_RESET : 0) |
    (target.reset ? TARGET_RESET : 0) |
    (up.done && up.ended ? UP_DONE | (up.isFin ? UP_FIN : 0) : 0) |
    (down.done && down.ended ? DOWN_DONE | (down.isFin ? DOWN_FIN : 0) : 0)
  );
}

/**
 * Continues the connection of an earlier process. Throws an Error if that is impossible; then its sockets are still open, and
 * nothing watches them.
 *
 * The process may have died between any two system calls, and only its notes and the kernel tell what it had done. What may
 * have been done is done again if that changes nothing, as shutdown(2) does.
 */
export function resumeConnection(relay: Relay, { notes, descriptors, pipes }: Remains): true {
  const [client = -1, target = -1] = descriptors;
  const known = flagsOf(notes);
  const connection = createConnection(relay, client, isUnixSocket(client));
  if (target >= 0) connection.target.isUnix = isUnixSocket(target);
  const { up, down } = connection;
  for (const flow of [up, down]) checkPipe(flowNotes(notes, flow.part), pipes);
  const wasConnected = (known & CONNECTED) !== 0;
  const accepted = wasConnected || hasAccepted(target, known);
  connection.openedAt = openedAt(notes);
  connection.deadline = deadlineOf(notes);
  connection.client.headerBytes = ownOf(notes, HEADER_BYTES);
  resumeFlow(up, client, notes, pipes);
  resumeFlow(down, target, notes, pipes);
  resumeOptions(client, relay.clientTimeout, relay.keepAlive);
  resumeOptions(target, relay.targetTimeout, relay.keepAlive);
  connection.target.hasStreamOptions = target >= 0;
  // Bytes that have left the pipe have been accepted by the target, and so has whatever it has sent.
  const isConnected = accepted || up.bytes > up.held || down.bytes > 0;
  if (isConnected && target < 0) {
    for (const flow of [up, down]) empty(relay, flow);
    throw new Error('its socket to the target is missing');
  }
  opened(connection);
  if (wasConnected) {
    connection.connected = true;
    if (hasUnixEnd(connection)) relay.survivors?.opened(connection);
  } else if (isConnected) connected(connection);
  if (connection.connected) {
    connection.target.fd = target;
    connection.storedTarget = target;
  } else if (target >= 0) {
    // It is in the network namespace of the previous process. A container that was restarted meanwhile has another one.
    // The store has a duplicate of it, which must not connect either.
    disconnect(target);
    // An attempt that was still going on leaves an error. If this process dies before the next snapshot is stored, the one after it
    // would take it for that of a target that had accepted.
    pendingError(target);
    closeDescriptor(target);
    connection.target.hasStreamOptions = false;
  }
  if ((known & CLIENT_RESET) !== 0) resumeReset(connection.client);
  if ((known & TARGET_RESET) !== 0) resumeReset(connection.target);
  if ((known & UP_DONE) !== 0) resumeDone(up, (known & UP_FIN) !== 0);
  if ((known & DOWN_DONE) !== 0) resumeDone(down, (known & DOWN_FIN) !== 0);
  resumeEvents(connection);
  if (!connection.closed && !connection.connected) start(relay.loop.timers, connection.timer, relay.loop.now);
  return true;
}

/**
 * Whether the target has accepted, although that has not been noted. A reset during the handshake is ECONNREFUSED, a later one
 * is not (tcp_reset() in the kernel). Throws an Error if that cannot be known.
 */
function hasAccepted(target: number, known: number): boolean {
  if (target < 0) return false;
  if (peerOf(target) !== undefined) return true;
  if (!isClosed(target)) return false;
  const failure = pendingError(target);
  if (failure === 0 && (known & READING_ERROR) !== 0)
    throw new Error('nobody knows whether the target had accepted it');
  return failure === E.ECONNRESET || failure === E.EPIPE;
}

function isUnixSocket(fd: number): boolean {
  return socketOption(fd, SO_DOMAIN) === AF_UNIX;
}

function checkPipe({ pipe, isLost }: FlowNotes, pipes: Map<number, number>): void {
  if (isLost) throw new Error('bytes were in a pipe that could not be stored');
  if (pipe !== 0 && !pipes.has(pipe)) throw new Error('a pipe is missing');
}

/** Finds out what a flow had read, and what of that it still held. */
function resumeFlow(flow: Flow, from: number, notes: Notes, pipes: Map<number, number>): void {
  const { part } = flow;
  const { pipe, read, isCounted } = flowNotes(notes, part);
  const out = pipes.get(pipe);
  flow.bytes = read;
  if (out === undefined) return;
  pipes.delete(pipe);
  const held = pending(out);
  if (held === 1 && isUrgentTwice(notes, part)) recvmsg(from, removalOf(notes), MSG_DONTWAIT);
  if (!isCounted) flow.bytes += held;
  if (held === 0) {
    closeDescriptor(out);
    return;
  }
  flow.pipe = createPipe(flow.from.connection.relay.pool, out);
  flow.held = held;
}

function resumeOptions(fd: number, timeout: number | undefined, keepAlive: number | undefined): void {
  if (fd < 0 || isUnixSocket(fd)) return;
  setStreamOptions(fd);
  if (timeout !== undefined) setPeerTimeout(fd, timeout);
  // The link may have been changed since.
  else if (keepAlive !== undefined) setKeepAlive(fd, keepAlive);
}

/** Continues a direction whose end had been passed on, or was about to be. */
function resumeDone(flow: Flow, isFin: boolean): void {
  const { to } = flow;
  flow.ended = true;
  flow.isFin = isFin;
  flow.done = true;
  if (isFin && !to.reset && to.fd >= 0) shutdown(to.fd, SHUT_WR);
}

function resumeReset(end: End): void {
  end.reset = true;
  end.writes.done = true;
  empty(end.connection.relay, end.writes);
}

/** Waits for the events that a connection needs, and handles those that may have got lost. */
function resumeEvents(connection: Connection): void {
  const { client, target, relay, up, down } = connection;
  const ends = [client, target];
  for (const end of ends) {
    const { reads, writes } = end;
    const canRead = !reads.ended && !reads.done && reads.held === 0;
    const isConnecting = end === target && !connection.connected;
    const canWrite = !writes.done && (writes.held > 0 || isConnecting);
    end.wanted = (canRead ? READABLE : 0) | (canWrite ? EPOLLOUT : 0);
    if (end.fd >= 0) add(relay.loop, end);
    if (connection.closed) return;
  }
  // The kernel reports the error of a reset once. The process may have died before it noted that.
  for (const end of ends) {
    if (end.fd < 0 || end.reset || !isClosed(end.fd) || hasEndedInOrder(end)) continue;
    lost(end, pendingError(end.fd));
    if (connection.closed) return;
  }
  if (ends.some(({ reset, reads }) => reset && reads.done)) passReset(connection);
  else if (up.done && down.done) close(connection);
}

/** Whether both directions of a socket in state CLOSE have ended with a FIN. */
function hasEndedInOrder({ fd, reads, writes, headerBytes }: End): boolean {
  return writes.done && (reads.isFin || bytesReceived(fd) > reads.bytes + headerBytes + pending(fd));
}

/** The bytes that can be read from a socket or a pipe. */
function pending(fd: number): number {
  return ioctl(fd, FIONREAD, byte.address) < 0 ? 0 : (byte.words[0] as number);
}

const byte = pinned(4);
