import { type Address, localPortOf, peerOf } from './address.js';
import type { Connection } from './connection.js';
import { OUT_OF_RESOURCES } from './dial-failure.js';
import { add, modify, release, scheduleClose, type Watch } from './loop.js';
import { avoid, isAvoided, setList } from './named-targets.js';
import { pendingError, receiveUrgentInline, resetOnClose, setKeepAlive } from './socket-options.js';
import {
  close,
  connect,
  E,
  EPOLLERR,
  EPOLLHUP,
  EPOLLOUT,
  errno,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  socket,
} from './syscalls.js';

/*
 * A target with several addresses: they are tried in turn, each 250 ms after the one before, or at once when that has failed. The
 * first that accepts wins, and the others are closed (RFC 8305, 5). The attempt that began first is `connection.target`; the others
 * are here. Nothing is sent before one has accepted.
 */

/** The delay before the next address is tried, ms: the Connection Attempt Delay of RFC 8305, 8. */
export const STAGGER_MS = 250;

/** A further attempt to connect a client. */
interface Attempt extends Watch {
  readonly to: Address;
}

/** The address of the target to which a client is to be connected; undefined while it is unknown. */
export function targetOf({ relay: { to, named }, candidate }: Connection): Address | undefined {
  return named === undefined ? to : named.list[candidate % Math.max(1, named.list.length)];
}

/** Whether the target of a client has an address that has not been tried in this round. */
export function hasNextTarget({ relay: { named }, candidate }: Connection): boolean {
  return named !== undefined && candidate + 1 < named.list.length;
}

/** Errors of a machine that has no way to an address, such as to IPv6 ones. Nobody need be told. */
const NO_ROUTE = new Set([E.ENETUNREACH, E.EADDRNOTAVAIL, E.EAFNOSUPPORT]);

/** Notes that the address of an attempt has failed with `failure` (errno), or has not answered when another one did (0). */
export function noteFailed(connection: Connection, to: Address, failure: number): void {
  // What this machine lacks says nothing about an address.
  if (OUT_OF_RESOURCES.has(failure)) return;
  const { named, loop, log } = connection.relay;
  if (named === undefined || named.list.length < 2 || !named.list.some(({ text }) => text === to.text))
    return;
  if (!isAvoided(named, to) && !NO_ROUTE.has(failure)) {
    const line = `${named.name}: ${to.text} does not accept; for 60 s its other addresses are tried first`;
    log.failure(`avoided ${to.text}`, line, (count) => `${line}; ${count} more times in the last 10 s`);
  }
  avoid(named, to, loop.now);
}

/** Begins an attempt to connect to the next address while the former ones go on. Does nothing if there is none. */
export function beginNextAttempt(connection: Connection): void {
  const { relay, target } = connection;
  while (hasNextTarget(connection)) {
    connection.candidate += 1;
    const to = targetOf(connection);
    if (to === undefined || isBeingTried(connection, to)) continue;
    const failure = beginAttempt(connection, to);
    if (failure === 0) {
      // Then the attempt that began first tells when it has succeeded, before a client has sent anything.
      if (target.fd >= 0) modify(relay.loop, target, target.wanted | EPOLLOUT);
      return;
    }
    noteFailed(connection, to, failure);
  }
}

function isBeingTried({ target, dialled, attempts }: Connection, { text }: Address): boolean {
  if (target.fd >= 0 && dialled?.text === text) return true;
  return attempts?.some((attempt) => (attempt as Attempt).to.text === text) === true;
}

/** Returns 0, or errno if the attempt has failed at once. */
function beginAttempt(connection: Connection, to: Address): number {
  const { loop, keepAlive } = connection.relay;
  const fd = socket(to.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno();
  receiveUrgentInline(fd);
  if (keepAlive !== undefined) setKeepAlive(fd, keepAlive);
  const failure = connect(fd, to.sockaddr, to.size) < 0 ? errno() : 0;
  if (failure !== 0 && failure !== E.EINPROGRESS) {
    close(fd);
    return failure;
  }
  if (localPortOf(fd) === to.port && peerOf(fd) !== undefined) {
    // It is connected to itself: see ephemeral-ports.ts.
    resetOnClose(fd);
    close(fd);
    return E.ECONNREFUSED;
  }
  const attempt: Attempt = {
    fd,
    to,
    wanted: EPOLLOUT,
    mask: -1,
    changed: false,
    ready: (events) => {
      const failure = (events & (EPOLLERR | EPOLLHUP)) === 0 ? 0 : pendingError(attempt.fd);
      if (failure === 0) attemptSucceeded(connection, attempt);
      else attemptFailed(connection, attempt, failure);
    },
    // Then it ends as one that has failed, and the others go on.
    refused: (failure) => {
      forget(connection, attempt);
      scheduleClose(loop, attempt);
      noteFailed(connection, to, failure);
    },
  };
  connection.attempts ??= [];
  connection.attempts.push(attempt);
  add(loop, attempt);
  return 0;
}

function attemptFailed(connection: Connection, attempt: Attempt, failure: number): void {
  forget(connection, attempt);
  scheduleClose(connection.relay.loop, attempt);
  noteFailed(connection, attempt.to, failure);
  beginNextAttempt(connection);
}

/** The attempt takes the place of the one that began first, unless that has succeeded too. */
function attemptSucceeded(connection: Connection, attempt: Attempt): void {
  const { target, dialled } = connection;
  if (target.fd >= 0 && peerOf(target.fd) !== undefined) return;
  if (dialled !== undefined) noteFailed(connection, dialled, 0);
  promote(connection, attempt);
}

/**
 * Puts another attempt that is under way in the place of the one that began first, which has failed. Returns false if there is none.
 */
export function promoteAttempt(connection: Connection): boolean {
  const [attempt] = connection.attempts ?? [];
  if (attempt === undefined) return false;
  promote(connection, attempt as Attempt);
  return true;
}

function promote(connection: Connection, attempt: Attempt): void {
  const { target, relay } = connection;
  const { loop } = relay;
  forget(connection, attempt);
  scheduleClose(loop, target);
  target.fd = release(loop, attempt);
  target.hasStreamOptions = false;
  target.wanted |= EPOLLOUT;
  connection.dialled = attempt.to;
  add(loop, target);
}

/** Ends all attempts but the one that began first. */
export function endOtherAttempts(connection: Connection): void {
  for (const attempt of connection.attempts ?? []) scheduleClose(connection.relay.loop, attempt);
  connection.attempts = undefined;
}

/** One address has accepted. The next client tries those that have failed last. */
export function settleAttempts(connection: Connection): void {
  const { named, loop } = connection.relay;
  if (named === undefined) return;
  endOtherAttempts(connection);
  if (connection.candidate > 0) setList(named, named.list, loop.now);
}

function forget(connection: Connection, attempt: Attempt): void {
  connection.attempts = connection.attempts?.filter((other) => other !== attempt);
}
