import {
  type Connection,
  close,
  closeWithReset,
  type End,
  empty,
  type Flow,
  READABLE,
  setStreamOptions,
} from './connection.js';
import { connected, dialFailed, errorOf } from './dial.js';
import { park, want } from './loop.js';
import { noteLoss } from './loss.js';
import { bytesReceived } from './patience.js';
import { borrow, giveBack, type Pipe } from './pipes.js';
import { waitForMemory, waitForPipe } from './starve.js';
import {
  E,
  EPOLLERR,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  errno,
  getsockopt,
  IPPROTO_TCP,
  ioctl,
  pinned,
  SHUT_WR,
  SIOCOUTQ,
  SPLICE_F_NONBLOCK,
  shutdown,
  splice,
  TCP_CLOSE,
  TCP_INFO,
} from './syscalls.js';
import { start } from './timers.js';
import { BULK_BYTES, chunkOf, noteRead } from './turns.js';
import { findUrgentMark, passUrgentByte } from './urgent.js';

/** How often unsent bytes are looked at before a reset is passed on: at first and at most, ms. */
const FIRST_LOOK_MS = 1;
const LAST_LOOK_MS = 250;

/** Errors of a kernel that is short of memory. The connection is as it was. */
const SHORTAGES = new Set([E.ENOMEM, E.ENOBUFS]);

/** Those, and errors of the moment: there is nothing to do now. */
const PASSING = new Set([E.EAGAIN, E.EINTR, ...SHORTAGES]);

const value = pinned(4);
const valueSize = pinned(4);

/**
 * Moves what has come from `flow.from`. Whatever `flow.to` does not take stays in the pipe, and `from` is not read
 * until it has left. `events` are those that epoll has reported of `from`, 0 if it has reported none. When they say that
 * the FIN has come, all is read in the same go, unless that would keep other connections waiting.
 */
export function fill(flow: Flow, events: number): void {
  if (flow.held > 0 || flow.ended || flow.done || flow.starved) return;
  const { from, to } = flow;
  const { relay } = from.connection;
  const pipe = flow.pipe ?? borrow(relay.pool);
  if (pipe === undefined) {
    waitForPipe(flow);
    return;
  }
  flow.pipe = undefined;
  const chunk = chunkOf(relay);
  for (let moved = 0; moved < chunk; ) {
    let read = splice(from.fd, 0, pipe.into, 0, chunk, SPLICE_F_NONBLOCK);
    if (read <= 0) {
      const outcome = passUrgentMark(flow, pipe, read < 0 ? errno() : 0, events);
      if (outcome !== 'passed') {
        giveBack(relay.pool, pipe);
        if (!from.connection.closed) endRead(flow, outcome, events);
        return;
      }
      read = 1;
    }
    moved += read;
    flow.bytes += read;
    relay.bytes += read;
    noteRead(flow, read);
    const written = to.fd < 0 ? 0 : send(pipe, to, read);
    if (written !== read) {
      block(flow, pipe, read, written);
      return;
    }
    if (!to.connection.connected) connected(to.connection);
    if ((events & EPOLLRDHUP) === 0) break;
  }
  giveBack(relay.pool, pipe);
}

/** Moves what is in the pipe, now that `flow.to` takes bytes again; then reads on. */
export function drain(flow: Flow): void {
  if (flow.done) return;
  const { from, to } = flow;
  const { loop } = from.connection.relay;
  if (flow.held > 0 && flow.pipe !== undefined) {
    const written = send(flow.pipe, to, flow.held);
    if (written < 0) {
      writeFailed(flow, errno());
      return;
    }
    flow.held -= written;
    if (flow.held > 0) return;
  }
  want(loop, to, to.wanted & ~EPOLLOUT);
  if (flow.ended) {
    finish(flow);
    return;
  }
  want(loop, from, from.wanted | READABLE);
  // A sender who was held up has more to say, nearly always; and if so, no mask has to change.
  fill(flow, 0);
}

/**
 * Deals with EPOLLHUP and EPOLLERR, which come on every round until the descriptor is closed or taken out of epoll.
 * The receive queue outlives a reset, so what can be read now is read.
 */
export function hungUp(end: End, events: number): void {
  const { reads, writes, connection } = end;
  // EPOLLHUP says that both directions are shut. If it was not us who shut ours, it was a reset, and its error has
  // been consumed: splice(2) sends in pieces, and does not tell of an error behind the first.
  if ((events & EPOLLERR) !== 0 || !writes.done) lost(end, errorOf(end.fd));
  if (connection.closed) return;
  if (!reads.ended && !reads.done && !reads.starved && reads.held === 0) fill(reads, events);
  else park(connection.relay.loop, end);
}

/** Writes `size` bytes of a pipe to a socket. Returns how many it took, or -1: see errno(). */
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
 * Deals with the urgent mark as the reason why splice(2) has moved nothing and returned `failure`, errno or 0. If it was the
 * reason, the byte behind the mark is in the pipe now: "passed". Otherwise returns why nothing was moved, errno or 0.
 */
function passUrgentMark(flow: Flow, pipe: Pipe, failure: number, events: number): 'passed' | number {
  const { from } = flow;
  if (!mayBeAtMark(from, failure, events)) return failure;
  const isFatal = failure !== 0 && !PASSING.has(failure);
  // The bytes of a connection that the kernel has not given up are not read one by one in spite of an error.
  if (isFatal && !isClosed(from.fd)) return failure;
  const found = findUrgentMark(from.fd);
  if (found !== 0) return SHORTAGES.has(found) ? found : failure;
  // The kernel tells the error of a reset once, also while there are bytes before it to read.
  if (isFatal) lost(from, failure);
  if (from.connection.closed) return failure;
  return passUrgentByte(from.fd, pipe) || 'passed';
}

/** Whether a read that moved nothing may have stopped at the urgent mark. It is asked for nothing in ordinary cases. */
function mayBeAtMark(from: End, failure: number, events: number): boolean {
  // Without an event there may simply be nothing to read; epoll reports what there is.
  if (failure === E.EAGAIN) return events !== 0;
  // No byte comes after a FIN. So if epoll has seen one and would have told of urgent data, this is the end.
  return failure !== 0 || (events & EPOLLRDHUP) === 0 || ((events | ~from.mask) & EPOLLPRI) !== 0;
}

/** Nothing can be read now, ever again, or because of an error. */
function endRead(flow: Flow, failure: number, events: number): void {
  const { from } = flow;
  if (failure === 0) {
    // Until epoll reports a FIN, this may be a reset whose error a write has consumed.
    const isFin = (!from.reset && (events & EPOLLRDHUP) !== 0) || hasFin(flow);
    if (isFin || from.reset) ended(flow, isFin);
  } else if (SHORTAGES.has(failure)) {
    waitForMemory(flow);
  } else if (!PASSING.has(failure)) {
    lost(from, failure);
    // With a FIN before it, the end would have been read, and not the error.
    if (!from.connection.closed) ended(flow, false);
  }
}

/**
 * Whether a FIN has come behind the bytes that were read, when no more can be read. After a reset whose error was consumed,
 * only the kernel's count tells: it includes the FIN (tcp_data_queue()).
 */
function hasFin(flow: Flow): boolean {
  return bytesReceived(flow.from.fd) > flow.bytes;
}

/** Keeps what `flow.to` has not taken, and waits for it. */
function block(flow: Flow, pipe: Pipe, read: number, written: number): void {
  const failure = written < 0 ? errno() : 0;
  const { from, to } = flow;
  const { loop } = from.connection.relay;
  flow.pipe = pipe;
  flow.held = read - Math.max(0, written);
  want(loop, from, from.wanted & ~READABLE);
  want(loop, to, to.wanted | EPOLLOUT);
  if (failure !== 0) writeFailed(flow, failure);
  else if (written > 0 && !to.connection.connected) connected(to.connection);
}

function writeFailed(flow: Flow, failure: number): void {
  if (PASSING.has(failure)) {
    if (SHORTAGES.has(failure)) waitForMemory(flow);
    return;
  }
  const { connection } = flow.to;
  // A target that resets has accepted before: it would have refused otherwise (tcp_reset() in the kernel).
  if (!connection.connected && (failure === E.ECONNRESET || failure === E.EPIPE)) connected(connection);
  if (connection.connected) lost(flow.to, failure);
  else dialFailed(connection, failure);
}

/** The FIN of `flow.from` or the error of its reset has been read, after every byte before it. */
function ended(flow: Flow, isFin: boolean): void {
  const { from } = flow;
  flow.ended = true;
  flow.isFin = isFin;
  want(from.connection.relay.loop, from, from.wanted & ~READABLE);
  finish(flow);
}

/** All bytes of an ended flow are delivered: passes the FIN or the reset on, or both. */
function finish(flow: Flow): void {
  const { from, to } = flow;
  const { connection } = from;
  const { relay } = connection;
  empty(relay, flow);
  if (!connection.connected) {
    // shutdown(2) would break off the handshake; the first EPOLLOUT says that it is over.
    want(relay.loop, to, to.wanted | EPOLLOUT);
    return;
  }
  flow.done = true;
  if (from.reset) {
    if (flow.isFin) shutdown(to.fd, SHUT_WR);
    passReset(connection);
  } else if (from.writes.done) {
    close(connection);
  } else {
    shutdown(to.fd, SHUT_WR);
  }
}

/**
 * The peer of `end` is gone: what is on the way to it is lost, as it would be without a relay. What came from it is
 * delivered first, and then the reset is passed on. A target that has not accepted yet is given the time to do so, but is
 * not dialled again.
 */
function lost(end: End, failure: number): void {
  const { connection, reads, writes } = end;
  const { loop } = connection.relay;
  if (!end.reset) noteLoss(end, failure);
  end.reset = true;
  if (connection.target.fd < 0) {
    closeWithReset(connection);
    return;
  }
  writes.done = true;
  empty(connection.relay, writes);
  want(loop, writes.from, writes.from.wanted & ~READABLE);
  want(loop, end, end.wanted & ~EPOLLOUT);
  if (reads.done) passReset(connection);
}

/**
 * Resets the end that is still there, as soon as its peer has acknowledged every byte: a reset discards the send
 * queue. Nothing but a look at SIOCOUTQ (tcp(7)) tells when that is; and nothing but a look tells of the end's own
 * reset, if it had said FIN in both directions before and is out of epoll because of that.
 */
export function passReset(connection: Connection): void {
  const { relay, client, target } = connection;
  const [gone, rest] = client.reset ? [client, target] : [target, client];
  if (rest.reset || isClosed(rest.fd)) {
    close(connection);
  } else if (ioctl(rest.fd, SIOCOUTQ, value.address) < 0 || value.words[0] === 0) {
    closeWithReset(connection);
  } else {
    park(relay.loop, gone);
    connection.wait = Math.min(LAST_LOOK_MS, Math.max(FIRST_LOOK_MS, 2 * connection.wait));
    start(relay.loop.timers, connection.timer, relay.loop.now + connection.wait);
  }
}

/** Whether the kernel has given up a socket: the first byte of struct tcp_info is the state (linux/tcp.h). */
function isClosed(fd: number): boolean {
  valueSize.words[0] = 4;
  return (
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, value.address, valueSize.address) === 0 &&
    value.bytes[0] === TCP_CLOSE
  );
}
