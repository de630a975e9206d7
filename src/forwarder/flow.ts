import {
  type Connection,
  close,
  closeWithReset,
  type End,
  empty,
  type Flow,
  type Relay,
} from './connection.js';
import { connected, dialFailed, errorOf } from './dial.js';
import { park, want } from './loop.js';
import { noteLoss } from './loss.js';
import { borrow, giveBack, type Pipe } from './pipes.js';
import {
  E,
  EPOLLERR,
  EPOLLIN,
  EPOLLOUT,
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

/** Events of a socket that can be read. EPOLLRDHUP says that its FIN is there too, so one more read is worth it. */
export const READABLE = EPOLLIN | EPOLLRDHUP;

/** Most bytes moved by one splice(2). A pipe takes as many buffers as it has slots, whatever their size. */
const CHUNK = 1 << 20;

/** How often unsent bytes are looked at before a reset is passed on: at first and at most, ms. */
const FIRST_LOOK_MS = 1;
const LAST_LOOK_MS = 250;

/** How soon a flow that got no pipe tries again if nobody gives one back, ms. */
const NO_PIPE_MS = 250;

const value = pinned(4);
const valueSize = pinned(4);

/**
 * Moves what has come from `flow.from`. Whatever `flow.to` does not take stays in the pipe, and `from` is not read
 * until it has left. With `fin` set the FIN is known to have come too, and is read in the same go.
 */
export function fill(flow: Flow, fin: boolean): void {
  if (flow.held > 0 || flow.ended || flow.done || flow.starved) return;
  const { from, to } = flow;
  const { relay } = from.connection;
  const pipe = flow.pipe ?? borrow(relay.pool);
  if (pipe === undefined) {
    starve(relay, flow);
    return;
  }
  flow.pipe = undefined;
  for (;;) {
    const read = splice(from.fd, 0, pipe.into, 0, CHUNK, SPLICE_F_NONBLOCK);
    if (read <= 0) {
      const failure = read < 0 ? errno() : 0;
      giveBack(relay.pool, pipe);
      if (read === 0) ended(flow);
      else if (failure !== E.EAGAIN && failure !== E.EINTR) readFailed(flow, failure);
      return;
    }
    relay.bytes += read;
    const written = to.fd < 0 ? 0 : splice(pipe.out, 0, to.fd, 0, read, SPLICE_F_NONBLOCK);
    if (written !== read) {
      block(flow, pipe, read, written);
      return;
    }
    if (!to.connection.connected) connected(to.connection);
    if (!fin) break;
  }
  giveBack(relay.pool, pipe);
}

/** Moves what is in the pipe, now that `flow.to` takes bytes again; then reads on. */
export function drain(flow: Flow): void {
  const { from, to } = flow;
  const { loop } = from.connection.relay;
  if (flow.held > 0 && flow.pipe !== undefined) {
    const written = splice(flow.pipe.out, 0, to.fd, 0, flow.held, SPLICE_F_NONBLOCK);
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
  if (flow.done) return;
  want(loop, from, from.wanted | READABLE);
  // A sender who was held up has more to say, nearly always; and if so, no mask has to change.
  fill(flow, false);
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
  if (!reads.ended && !reads.done && !reads.starved && reads.held === 0) fill(reads, false);
  else park(connection.relay.loop, end);
}

/** Lets the flows that wait for a pipe try again. */
export function feedStarved(relay: Relay): void {
  for (const flow of relay.starved.splice(0)) {
    flow.starved = false;
    if (!flow.done) want(relay.loop, flow.from, flow.from.wanted | READABLE);
  }
}

/** Leaves the bytes in the socket until there is a pipe for them. */
function starve(relay: Relay, flow: Flow): void {
  flow.starved = true;
  want(relay.loop, flow.from, flow.from.wanted & ~READABLE);
  relay.starved.push(flow);
  start(relay.loop.timers, relay.starvedTimer, relay.loop.now + NO_PIPE_MS);
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
  if (failure === E.EAGAIN || failure === E.EINTR) return;
  const { connection } = flow.to;
  // A target that resets has accepted before: it would have refused otherwise (tcp_reset() in the kernel).
  if (!connection.connected && (failure === E.ECONNRESET || failure === E.EPIPE)) connected(connection);
  if (connection.connected) lost(flow.to, failure);
  else dialFailed(connection, failure);
}

/** The FIN of `flow.from` has been read, after every byte before it. */
function ended(flow: Flow): void {
  const { from } = flow;
  flow.ended = true;
  want(from.connection.relay.loop, from, from.wanted & ~READABLE);
  finish(flow);
}

/** All bytes of an ended flow are delivered: passes the end on. */
function finish(flow: Flow): void {
  const { from, to } = flow;
  const { connection } = from;
  const { relay } = connection;
  empty(relay, flow);
  if (!connection.connected) {
    // Ended without a byte while the target refuses: a probe, or a client that lost patience.
    if (connection.refusals > 0) close(connection);
    // shutdown(2) would break off the handshake; the first EPOLLOUT says that it is over.
    else want(relay.loop, to, to.wanted | EPOLLOUT);
    return;
  }
  flow.done = true;
  if (from.reset) passReset(connection);
  else if (from.writes.done) close(connection);
  else shutdown(to.fd, SHUT_WR);
}

/** A read met the error of a reset (or of a peer that vanished), after every byte before it. */
function readFailed(flow: Flow, failure: number): void {
  flow.ended = true;
  flow.done = true;
  lost(flow.from, failure);
}

/**
 * The peer of `end` is gone: what is on the way to it is lost, as it would be without a relay. What came from it is
 * delivered first, and then the reset is passed on.
 */
function lost(end: End, failure: number): void {
  const { connection, reads, writes } = end;
  const { loop } = connection.relay;
  if (!end.reset) noteLoss(end, failure);
  end.reset = true;
  if (!connection.connected) {
    // The client, for a target that fails is dialled anew. That may have accepted and said nothing yet.
    closeWithReset(connection, connection.target);
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
    closeWithReset(connection, rest);
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
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, value.address, valueSize.address) < 0 ||
    value.bytes[0] === TCP_CLOSE
  );
}
