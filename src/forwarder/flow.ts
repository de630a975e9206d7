import {
  type Connection,
  close,
  closeWithReset,
  type End,
  empty,
  type Flow,
  READABLE,
} from './connection.js';
import { connected, dialFailed } from './dial.js';
import { modify, unwatch } from './loop.js';
import { handleLostPeer } from './lost-peer.js';
import { acquire, type Pipe, release } from './pipes.js';
import { BULK_BYTES, chunkSize, classify } from './scheduler.js';
import { waitForMemory, waitForPipe } from './shortage.js';
import { pendingError, setStreamOptions } from './socket-options.js';
import {
  CLIENT_RESET,
  DOWN_DONE,
  DOWN_FIN,
  noteFill,
  noteFlags,
  noteRead,
  noteRefill,
  noteRelease,
  noteUnstored,
  TARGET_RESET,
  UP,
  UP_DONE,
  UP_FIN,
} from './store/memory.js';
import type { Stored } from './store/store.js';
import {
  E,
  EPOLLERR,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  errno,
  ioctl,
  pinned,
  SHUT_WR,
  SIOCOUTQ,
  SPLICE_F_NONBLOCK,
  shutdown,
  splice,
} from './syscalls.js';
import { bytesReceived, isClosed } from './tcp-info.js';
import { start } from './timers.js';
import { findUrgentMark, passUrgentByte } from './urgent.js';

/**
 * The first and the longest delay between checks for unacknowledged bytes before a reset is passed on, ms.
 */
const FIRST_CHECK_MS = 1;
const LAST_CHECK_MS = 250;

/** Errors of a kernel that is short of memory. The connection is intact. */
const SHORTAGES = new Set([E.ENOMEM, E.ENOBUFS]);

/** Errors after which the connection is intact, including "nothing to do now". */
const TRANSIENT = new Set([E.EAGAIN, E.EINTR, ...SHORTAGES]);

const value = pinned(4);

/**
 * Reads from `flow.from` and writes to `flow.to`. Bytes that `flow.to` does not take stay in the pipe, and
 * nothing is read until they have left. `events` are those that epoll reported of `from`, or 0. If they
 * include the FIN, everything is read in one go, up to one chunk.
 */
export function fill(flow: Flow, events: number): void {
  if (flow.held > 0 || flow.ended || flow.done || flow.isSuspended) return;
  const { from, to, part } = flow;
  const { relay, stored } = from.connection;
  const pipe = flow.pipe ?? acquire(relay.pool);
  if (pipe === undefined) {
    waitForPipe(flow);
    return;
  }
  flow.pipe = undefined;
  if (stored !== undefined) noteEmptyPipe(flow, stored, pipe);
  const chunk = chunkSize(relay);
  for (let moved = 0; moved < chunk; ) {
    let read = splice(from.fd, 0, pipe.into, 0, chunk, SPLICE_F_NONBLOCK);
    if (read <= 0) {
      const outcome = handleUrgentMark(flow, pipe, read < 0 ? errno() : 0, events);
      if (outcome !== 'passed') {
        if (stored !== undefined) noteRelease(stored, part);
        release(relay.pool, pipe);
        if (!from.connection.closed) endRead(flow, outcome, events);
        return;
      }
      read = 1;
    }
    moved += read;
    flow.bytes += read;
    if (from === from.connection.client) relay.counters.bytesFromClients += read;
    else relay.counters.bytesFromTarget += read;
    if (stored !== undefined) noteRead(stored, part, flow.bytes);
    classify(flow, read);
    const written = to.fd < 0 ? 0 : send(pipe, to, read);
    if (written !== read) {
      block(flow, pipe, read, written);
      return;
    }
    if (!to.connection.connected) connected(to.connection);
    if ((events & EPOLLRDHUP) === 0) break;
    if (stored !== undefined) noteRefill(stored, part, flow.bytes);
  }
  if (stored !== undefined) noteRelease(stored, part);
  release(relay.pool, pipe);
}

/** Notes which pipe bytes of a stored session are about to go into. That pipe is stored first. */
function noteEmptyPipe({ part, bytes }: Flow, stored: Stored, pipe: Pipe): void {
  if (stored.store.protect(pipe)) noteFill(stored, part, pipe.id, bytes);
  else noteUnstored(stored, part);
}

/** Writes what the pipe holds, now that `flow.to` is writable, and then reads on. */
export function drain(flow: Flow): void {
  if (flow.done) return;
  const { from, to } = flow;
  const { loop } = from.connection.relay;
  if (flow.held > 0 && flow.pipe !== undefined) {
    const written = send(flow.pipe, to, flow.held);
    if (written < 0) {
      const failure = errno();
      // epoll has said that the send buffer has room, and would on every round. It is the kernel that has no memory: beyond the limit of
      // TCP (tcp_mem, tcp(7)) or of the control group, a write fails so (sk_stream_wait_memory()).
      writeFailed(flow, failure === E.EAGAIN ? E.ENOBUFS : failure);
      return;
    }
    flow.held -= written;
    if (flow.held > 0) return;
    // Nothing can be put into the pipe of an earlier process.
    if (flow.pipe.into < 0) empty(from.connection.relay, flow);
  }
  modify(loop, to, to.wanted & ~EPOLLOUT);
  if (flow.ended) {
    finish(flow);
    return;
  }
  modify(loop, from, from.wanted | READABLE);
  // A sender that was blocked nearly always has more to send. If so, no mask changes.
  fill(flow, 0);
}

/**
 * Handles EPOLLHUP and EPOLLERR, which epoll reports on every round until the descriptor is removed. The
 * receive queue survives a reset, so it is read to its end.
 */
export function handleHangup(end: End, events: number): void {
  const { reads, writes, connection } = end;
  // EPOLLHUP means that both directions are shut down. If this side has not shut down its own, it was a reset
  // whose error has been consumed: splice(2) writes in pieces and does not report an error after the first. A unix
  // socket reports it when its peer has closed in order.
  if ((events & EPOLLERR) !== 0 || (!writes.done && !end.isUnix)) lost(end, pendingError(end.fd));
  // Nothing reads these bytes any more. The attempt to write them tells.
  else if (writes.held > 0) drain(writes);
  if (connection.closed) return;
  if (!reads.ended && !reads.done && !reads.isSuspended && reads.held === 0) fill(reads, events);
  else unwatch(connection.relay.loop, end);
}

/** Writes `size` bytes from a pipe to a socket. Returns how many it took, or -1: see errno(). */
function send(pipe: Pipe, to: End, size: number): number {
  // Nagle's algorithm never delays the first write.
  if (!to.hasStreamOptions && (to.written || size >= BULK_BYTES)) {
    setStreamOptions(to.fd);
    to.hasStreamOptions = true;
  }
  const written = splice(pipe.out, 0, to.fd, 0, size, SPLICE_F_NONBLOCK);
  if (written > 0) to.written = true;
  return written;
}

/**
 * Handles a splice(2) that moved nothing and returned `failure` (errno or 0) because it stopped at the urgent
 * mark. Returns "passed" if the byte at the mark is in the pipe now; otherwise the reason why nothing was
 * moved, errno or 0.
 */
function handleUrgentMark(flow: Flow, pipe: Pipe, failure: number, events: number): 'passed' | number {
  const { from } = flow;
  if (!mayBeAtMark(from, failure, events)) return failure;
  const isFatal = failure !== 0 && !TRANSIENT.has(failure);
  // Only a connection that the kernel has given up reports an error before its last bytes have been read.
  if (isFatal && !isClosed(from.fd)) return failure;
  const found = findUrgentMark(from.fd);
  // The kernel reports the error of a reset once: this may have been the look that met it.
  if (found !== 0) return found === E.EAGAIN ? failure : found;
  // Even if there are bytes before it to read.
  if (isFatal) lost(from, failure);
  if (from.connection.closed) return failure;
  return passUrgentByte(from.fd, pipe, flow.part, from.connection.stored) || 'passed';
}

/**
 * Whether a read that moved nothing may have stopped at the urgent mark. In ordinary cases this avoids a
 * system call.
 */
function mayBeAtMark(from: End, failure: number, events: number): boolean {
  // Without an event there may be nothing to read. If there is, epoll reports it.
  if (failure === E.EAGAIN) return events !== 0;
  // There may be bytes to read, which would be passed one by one, with four system calls each.
  if (SHORTAGES.has(failure)) return false;
  // No byte follows a FIN. So if epoll has reported one, and would have reported urgent data, this is the
  // end.
  return failure !== 0 || (events & EPOLLRDHUP) === 0 || ((events | ~from.mask) & EPOLLPRI) !== 0;
}

/** Handles a read that moved nothing; `failure` is errno or 0. */
function endRead(flow: Flow, failure: number, events: number): void {
  const { from } = flow;
  if (failure === 0) {
    // Before epoll reports the FIN, this may be a reset whose error a write has consumed.
    const isFin = (!from.reset && (events & EPOLLRDHUP) !== 0) || hasFin(flow);
    if (isFin || from.reset) ended(flow, isFin);
  } else if (SHORTAGES.has(failure)) {
    waitForMemory(flow);
  } else if (!TRANSIENT.has(failure)) {
    lost(from, failure);
    // After a FIN, the read would have returned 0.
    if (!from.connection.closed) ended(flow, false);
  }
}

/**
 * Whether a FIN follows the bytes read, given that no more can be read. After a reset whose error was
 * consumed, only the count of received bytes tells: it includes the FIN (tcp_data_queue() in the kernel).
 */
function hasFin(flow: Flow): boolean {
  const { from } = flow;
  // A unix socket reports a reset as an error, before the end.
  if (from.isUnix) return !from.reset;
  return bytesReceived(from.fd) > flow.bytes + from.headerBytes;
}

/** Keeps the bytes that `flow.to` did not take, and waits until it is writable. */
function block(flow: Flow, pipe: Pipe, read: number, written: number): void {
  const failure = written < 0 ? errno() : 0;
  const { from, to } = flow;
  const { loop } = from.connection.relay;
  flow.pipe = pipe;
  flow.held = read - Math.max(0, written);
  modify(loop, from, from.wanted & ~READABLE);
  modify(loop, to, to.wanted | EPOLLOUT);
  if (failure !== 0) writeFailed(flow, failure);
  else if (written > 0 && !to.connection.connected) connected(to.connection);
}

function writeFailed(flow: Flow, failure: number): void {
  if (TRANSIENT.has(failure)) {
    if (SHORTAGES.has(failure)) waitForMemory(flow);
    return;
  }
  const { connection } = flow.to;
  // A target that resets the connection has accepted it before; otherwise it would have refused it
  // (tcp_reset() in the kernel).
  if (!connection.connected && (failure === E.ECONNRESET || failure === E.EPIPE)) connected(connection);
  if (connection.connected) lost(flow.to, failure);
  else dialFailed(connection, failure);
}

/** Notes that everything has been read from `flow.from`, up to its FIN or reset. */
function ended(flow: Flow, isFin: boolean): void {
  const { from } = flow;
  flow.ended = true;
  flow.isFin = isFin;
  modify(from.connection.relay.loop, from, from.wanted & ~READABLE);
  finish(flow);
}

/** Passes on the FIN or the reset of a flow that has delivered all its bytes. */
function finish(flow: Flow): void {
  const { from, to } = flow;
  const { connection } = from;
  const { relay } = connection;
  empty(relay, flow);
  if (!connection.connected) {
    // shutdown(2) would abort the handshake. The first EPOLLOUT means that it is complete.
    modify(relay.loop, to, to.wanted | EPOLLOUT);
    return;
  }
  flow.done = true;
  noteDone(flow);
  if (from.reset) {
    if (flow.isFin) shutdown(to.fd, SHUT_WR);
    passReset(connection);
  } else if (from.writes.done) {
    close(connection);
  } else {
    shutdown(to.fd, SHUT_WR);
  }
}

/** Notes that the end of a direction is about to be passed on. */
function noteDone({ from, part, isFin }: Flow): void {
  const { stored } = from.connection;
  if (stored === undefined) return;
  const [done, fin] = part === UP ? [UP_DONE, UP_FIN] : [DOWN_DONE, DOWN_FIN];
  noteFlags(stored, isFin ? done | fin : done);
}

/**
 * Handles a peer that is gone. Bytes on the way to it are lost, as on a direct connection. Bytes from it are
 * delivered first, and then the reset is passed on. A target that has not accepted yet may still do so, but
 * no further attempt to connect is made.
 */
export function lost(end: End, failure: number): void {
  const { connection, reads, writes } = end;
  const { loop } = connection.relay;
  if (!end.reset) handleLostPeer(end, failure);
  end.reset = true;
  if (connection.stored !== undefined) {
    noteFlags(connection.stored, end === connection.client ? CLIENT_RESET : TARGET_RESET);
  }
  if (connection.target.fd < 0) {
    closeWithReset(connection);
    return;
  }
  writes.done = true;
  empty(connection.relay, writes);
  modify(loop, writes.from, writes.from.wanted & ~READABLE);
  modify(loop, end, end.wanted & ~EPOLLOUT);
  if (reads.done) passReset(connection);
}

/**
 * Resets the remaining side once its peer has acknowledged every byte, because a reset discards the send
 * queue. Only polling SIOCOUTQ (tcp(7)) tells when that is. Polling also detects that the remaining side was
 * reset after it had ended both directions, when epoll no longer watches it.
 */
export function passReset(connection: Connection): void {
  const { relay, client, target } = connection;
  const [gone, rest] = client.reset ? [client, target] : [target, client];
  if (rest.reset || isClosed(rest.fd)) {
    close(connection);
  } else if (ioctl(rest.fd, SIOCOUTQ, value.address) < 0 || value.words[0] === 0) {
    closeWithReset(connection);
  } else {
    unwatch(relay.loop, gone);
    connection.wait = Math.min(LAST_CHECK_MS, Math.max(FIRST_CHECK_MS, 2 * connection.wait));
    start(relay.loop.timers, connection.timer, relay.loop.now + connection.wait);
  }
}
