import { readFileSync } from 'node:fs';
import { localPortOf, peerOf } from './address.js';
import { type Connection, closeWithReset, type Relay } from './connection.js';
import { bindToDevice } from './device.js';
import { add, closeLater } from './loop.js';
import { resetOnClose } from './reset.js';
import { limitSilence } from './silence.js';
import {
  close,
  connect,
  E,
  EPOLLERR,
  EPOLLHUP,
  errno,
  errorWords,
  getsockopt,
  pinned,
  SO_ERROR,
  SO_OOBINLINE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  setsockopt,
  socket,
} from './syscalls.js';
import { start, stop } from './timers.js';

/** Between two dials of one connection: at first and at most, ms. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 250;

/** How long a guide's target may keep a dial waiting before the guide is asked for it, ms. */
const DOUBT_MS = 1000;

/** Errors that no waiting heals: policy, or a machine without this address family. */
const HOPELESS = new Set([E.EACCES, E.EPERM, E.EAFNOSUPPORT, E.EINVAL, E.EPROTONOSUPPORT]);

/** Errors of this machine, which has no room for another socket or for watching it. */
const NO_ROOM = new Set([E.EMFILE, E.ENFILE, E.ENOBUFS, E.ENOMEM, E.ENOSPC]);

const on = pinned(4);
on.words[0] = 1;
const value = pinned(4);
const valueSize = pinned(4);

/**
 * Begins to connect to the target, without waiting for it. The socket is watched like a connected one: to write to
 * it gives EAGAIN until the handshake is over, and a refusal shows as EPOLLERR. So a connection that succeeds, as
 * nearly all do, costs no event of its own.
 */
export function dial(connection: Connection): void {
  const { relay, target } = connection;
  const { to, loop, guide, targetSilence } = relay;
  connection.dialled = loop.now;
  if (to === undefined) {
    dialFailed(connection, E.EDESTADDRREQ);
    return;
  }
  const fd = socket(to.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    dialFailed(connection, errno());
    return;
  }
  setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, on.address, 4);
  if (targetSilence !== undefined) limitSilence(fd, targetSilence);
  if (to.device !== undefined && !bindToDevice(fd, to.device)) {
    const refusal = errno();
    close(fd);
    dialFailed(connection, refusal);
    return;
  }
  const failure = connect(fd, to.sockaddr, to.size) < 0 ? errno() : 0;
  target.fd = fd;
  target.noDelay = false;
  add(loop, target);
  // The kernel refused to watch it, and that has been dealt with.
  if (target.fd < 0) return;
  if (failure !== 0 && failure !== E.EINPROGRESS) {
    dialFailed(connection, failure);
    return;
  }
  if (isEphemeral(to.port) && localPortOf(fd) === to.port) {
    // Closed with a FIN, it would leave TIME-WAIT on the port, which the target could not bind for a minute.
    resetOnClose(fd);
    dialFailed(connection, E.ECONNREFUSED);
    return;
  }
  const doubt = guide === undefined ? connection.deadline : loop.now + DOUBT_MS;
  start(loop.timers, connection.timer, Math.min(connection.deadline, doubt));
}

/** Dials anew a connection that waits for an answer of the target: the target has moved. */
export function redial(connection: Connection): void {
  closeLater(connection.relay.loop, connection.target);
  dial(connection);
}

/**
 * Takes the first event of the target's socket. True if it has accepted (it may have reset the connection since),
 * false if it has not and the failure is dealt with.
 */
export function answered(connection: Connection, events: number): boolean {
  if ((events & (EPOLLERR | EPOLLHUP)) !== 0) {
    const failure = errorOf(connection.target.fd);
    // A reset in the middle of the handshake is ECONNREFUSED, a later one is not (tcp_reset() in the kernel); and
    // none at all is one that a write after the handshake has consumed.
    if (failure !== 0 && failure !== E.ECONNRESET && failure !== E.EPIPE) {
      dialFailed(connection, failure);
      return false;
    }
  }
  connected(connection);
  return true;
}

/** The target has accepted. */
export function connected(connection: Connection): void {
  connection.connected = true;
  stop(connection.relay.loop.timers, connection.timer);
}

/** A dial failed with this errno: dials again soon, or gives up. */
export function dialFailed(connection: Connection, failure: number): void {
  const { relay, target } = connection;
  const { loop } = relay;
  closeLater(loop, target);
  if (relay.hopeless()) {
    sendAway(connection, 'start', `${relay.target} could not be started: the journal says why`);
    return;
  }
  relay.guide?.ask();
  if (isHopeless(relay, failure) || loop.now >= connection.deadline) {
    giveUp(connection, failure);
    return;
  }
  connection.failure = failure;
  connection.wait = Math.min(LAST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * connection.wait));
  start(loop.timers, connection.timer, Math.min(connection.deadline, loop.now + connection.wait));
}

/** Called when the timer of a connection that is not known to be connected fires: time to dial again, or to give up. */
export function dialTimer(connection: Connection): void {
  const { target, relay, deadline } = connection;
  const { now, timers } = relay.loop;
  if (target.fd < 0) {
    if (now < deadline) dial(connection);
    else giveUp(connection, connection.failure);
  } else if (peerOf(target.fd) !== undefined) {
    // It accepted long ago, and nobody has said anything yet.
    connected(connection);
  } else {
    relay.guide?.ask();
    // The guide may have refused the question: it takes one a second.
    if (now < deadline) start(timers, connection.timer, Math.min(deadline, now + LAST_PAUSE_MS));
    else giveUp(connection, E.ETIMEDOUT);
  }
}

function giveUp(connection: Connection, failure: number): void {
  const { relay } = connection;
  const seconds = isHopeless(relay, failure) ? '' : ` for ${relay.dialTimeout / 1000} s`;
  const story = `${whatFailed(relay.target, failure)}${seconds} (${errorWords(failure)})`;
  sendAway(connection, `dial ${failure}`, story);
}

/** Whether to dial again cannot help. A guide may know another address. */
function isHopeless(relay: Relay, failure: number): boolean {
  return relay.guide === undefined && HOPELESS.has(failure);
}

/**
 * Sends the client away with a reset: a plain end could be taken for an empty answer, and a program that is told of
 * an error tries again. `story` says why; clients of the same `kind` within 10 s are counted, and told in one line.
 */
export function sendAway(connection: Connection, kind: string, story: string): void {
  const { relay, client } = connection;
  relay.log.failure(
    kind,
    `${story}; closed the client ${peerOf(client.fd) ?? '(gone)'}; the next connection tries again`,
    (count) => `${story}; closed ${count} more client${count === 1 ? '' : 's'} in the last 10 s`,
  );
  closeWithReset(connection, client);
}

function whatFailed(target: string, failure: number): string {
  if (failure === E.EDESTADDRREQ) return `no address of ${target} was learnt`;
  if (failure === E.ECONNREFUSED) return `${target} refused`;
  if (failure === E.ETIMEDOUT) return `${target} did not answer`;
  if (NO_ROOM.has(failure)) return `no socket to ${target} could be made`;
  return `${target} could not be reached`;
}

/** errno of what ended the connection of `fd`, 0 when none did or it was told already: SO_ERROR of socket(7). */
export function errorOf(fd: number): number {
  valueSize.words[0] = 4;
  const isKnown = getsockopt(fd, SOL_SOCKET, SO_ERROR, value.address, valueSize.address) === 0;
  return isKnown ? (value.words[0] as number) : errno();
}

/*
 * A socket that connects to a port of its own machine from which the kernel also takes source ports may be given
 * that very port, and is then connected to itself (TCP simultaneous open, RFC 9293 3.5): the client would hear its
 * own words, and the real service could no longer bind its port.
 */
function isEphemeral(port: number): boolean {
  return port >= ephemeral.first && port <= ephemeral.last;
}

const ephemeral = ephemeralPorts();

function ephemeralPorts(): { first: number; last: number } {
  try {
    const [first, last] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split('\t');
    return { first: Number(first), last: Number(last) };
  } catch {
    return { first: 1024, last: 65535 };
  }
}
