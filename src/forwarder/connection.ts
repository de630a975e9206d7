import type { AccessRule } from './access.js';
import { type Address, peerOf } from './address.js';
import type { Counters } from './counters.js';
import type { Device } from './device.js';
import type { Offer } from './hand-off/offer.js';
import type { Log } from './log.js';
import { type Loop, scheduleClose, unwatch, type Watch } from './loop.js';
import type { NamedTargets } from './named-targets.js';
import { discard, type Pipe, type Pool, release } from './pipes.js';
import type { Resolver } from './resolver.js';
import { disconnect, endOnClose, resetOnClose, setUserTimeout } from './socket-options.js';
import { countClosed, countOpened, type Source, type Sources, sourceOf } from './sources.js';
import { ENDED, noteFlags, noteRelease, type Part } from './store/memory.js';
import type { Register, Storable, Stored } from './store/store.js';
import {
  close as closeDescriptor,
  EPOLLIN,
  EPOLLPRI,
  EPOLLRDHUP,
  SHUT_RDWR,
  SHUT_WR,
  shutdown,
} from './syscalls.js';
import { stop, type Timer } from './timers.js';

/**
 * The events after which a socket is read. EPOLLRDHUP means that the FIN has arrived too, so it is worth
 * reading to the end. EPOLLPRI means that there is urgent data, which stops splice(2).
 */
export const READABLE = EPOLLIN | EPOLLPRI | EPOLLRDHUP;

/** State that all connections of the link share. */
export interface Relay {
  readonly loop: Loop;
  readonly pool: Pool;
  readonly log: Log;
  /**
   * The address of the target; undefined while it is unknown. Only setTarget() changes it, together with
   * `target`.
   */
  to: Address | undefined;
  /** The target in log messages: "127.0.0.1:3306 in container mysql". */
  target: string;
  /** Where the target is, in log messages: "container mysql". */
  readonly location: string | undefined;
  /** Which clients are admitted; undefined: all. */
  readonly access: AccessRule | undefined;
  /** The only network interface through which clients are served; undefined: any. */
  readonly device: Device | undefined;
  /** Finds the target when it is unreachable; undefined if its address never changes. */
  readonly resolver: Resolver | undefined;
  /** Has the target started again when it refuses a connection; undefined if nothing starts it. */
  readonly restarter: Resolver | undefined;
  /** The addresses of a target that has a name; undefined if it has none. `to` is the first of them. */
  readonly named: NamedTargets | undefined;
  /**
   * Clients that the target has reset before its first byte, since the resolver last answered, and when the last of them was, ms,
   * on the clock of the loop.
   */
  rejections: number;
  rejectedAt: number;
  /** Told what another machine says of its part that fails, and an empty text when that has served a client again. */
  onRejection: ((failure: string) => void) | undefined;
  /** How long the target's machine may be silent, ms; undefined: until the kernel gives up. */
  readonly targetTimeout: number | undefined;
  /** How long the client's machine may be silent, ms; undefined: until the kernel gives up. */
  readonly clientTimeout: number | undefined;
  /**
   * The open connections; undefined on links that never need to enumerate them, which saves the bookkeeping.
   */
  readonly connections: Set<Connection> | undefined;
  /** Counts the connections of each source; undefined if a source may have any number. */
  readonly sources: Sources | undefined;
  /** After how much silence the kernel probes both peers, seconds; undefined: never. */
  readonly keepAlive: number | undefined;
  /** How long the target may refuse connections before a client is reset, ms. */
  readonly dialTimeout: number;
  /** The unit that starts the target, in log messages; undefined if nothing has to. */
  readonly starter: string | undefined;
  /** Whether starting the target has failed, so that waiting for it is pointless. */
  readonly targetFailed: () => boolean;
  /** The connections that outlive the process if they get old enough; undefined if none do. */
  readonly survivors: Register<Connection> | undefined;
  /** Open connections. */
  open: number;
  /** What `wormhole list` shows. */
  readonly counters: Counters;
  /** Has another thread relay a client that was offered, whose target has accepted; undefined if this one relays. */
  passOn: ((connection: Connection) => void) | undefined;
  /** Called when a connection is accepted, and when it is closed. */
  onOpen: () => void;
  onClose: () => void;
  /** Flows that wait for a pipe or for memory, longest waiting first, and the timer that retries them. */
  readonly pipeWaiters: Flow[];
  readonly memoryWaiters: Flow[];
  readonly retryTimer: Timer;
  /** Sockets of bulk streams that are ready, longest waiting first. */
  readonly bulkQueue: End[];
  /** When the next small message is no longer expected soon, ms, on the clock of the loop. */
  interactiveUntil: number;
}

/** One of the two sockets of a connection. */
export interface End extends Watch {
  readonly connection: Connection;
  /** Whether it is a unix socket, which knows no reset and no options of TCP. */
  isUnix: boolean;
  /** The direction that reads from this socket. */
  readonly reads: Flow;
  /** The direction that writes to it. */
  readonly writes: Flow;
  /**
   * Whether the peer has reset the connection or the kernel has given it up. Nothing can be written any more.
   */
  reset: boolean;
  /** The events that were reported while it waits in the bulk queue; 0 if it does not wait. */
  queuedEvents: number;
  /** Whether bytes have been written to it. */
  written: boolean;
  /**
   * Whether setStreamOptions() has been applied. Clients inherit the options from their listening socket. A
   * target gets them before its second write, or before a large one, so that a connection with one small
   * request does not pay for them.
   */
  hasStreamOptions: boolean;
  /** The bytes of the PROXY header that was read from it, and is no part of the stream. */
  headerBytes: number;
}

/** One direction of a connection. It reads from `from` only while it holds no bytes. */
export interface Flow {
  readonly from: End;
  readonly to: End;
  /** The part of the notes of a stored session that is about this direction. */
  readonly part: Part;
  /** Acquired while bytes are in flight. */
  pipe: Pipe | undefined;
  /** Bytes in the pipe. */
  held: number;
  /** Bytes read since the start. */
  bytes: number;
  /** Whether everything has been read from `from`, up to its FIN or its reset. */
  ended: boolean;
  /** Whether a FIN was read at the end, also if a reset followed it. */
  isFin: boolean;
  /** Whether the end has been passed on, or can no longer be passed on. */
  done: boolean;
  /** Whether it waits for a pipe or for memory. */
  isSuspended: boolean;
  /** Whether it is treated as a bulk stream. */
  isBulk: boolean;
  /** Consecutive small reads of a bulk stream. */
  smallReads: number;
}

/**
 * A client, and the connection to the target on its behalf. While idle, it holds two descriptors and no pipe.
 */
export interface Connection extends Storable {
  readonly relay: Relay;
  readonly client: End;
  readonly target: End;
  /** From the client to the target. */
  readonly up: Flow;
  /** From the target to the client. */
  readonly down: Flow;
  /** Whether the target is known to have accepted. Until then `target.fd` may be -1. */
  connected: boolean;
  /** errno of the last failed attempt to connect. */
  failure: number;
  /** Where the client comes from, while it is counted. */
  source: Source | undefined;
  /** When the client was accepted, ms, on the clock of the loop. */
  openedAt: number;
  /** Its notes while it is stored. Then the service manager has duplicates of its sockets. */
  stored: Stored | undefined;
  /**
   * The socket for the next attempt to connect, or -1. Only a stored connection has one: it keeps its socket, since another one
   * would have to be stored before it is used.
   */
  spare: number;
  /** The interface that the socket to the target is bound to. */
  device: string | undefined;
  /** The socket to the target that is stored, or -1. */
  storedTarget: number;
  /** Who has offered the client, until the target has accepted; undefined if this process has accepted it. */
  offer: Offer | undefined;
  /** Whether a front forwarder has offered it, which may have a duplicate of the client's socket for a moment longer. */
  isHandedOff: boolean;
  /** When the last attempt to connect began, ms, on the clock of the loop. */
  dialledAt: number;
  /** When no further attempt to connect is made, ms, on the clock of the loop. */
  deadline: number;
  /** The address of the attempt to connect, and its number among those of a target with a name. */
  dialled: Address | undefined;
  candidate: number;
  /** The attempts to connect to other addresses of the target, which go on at the same time; see attempts.ts. */
  attempts: Watch[] | undefined;
  /**
   * Before the target has accepted: the next attempt, or the deadline. Later: the next check of
   * unacknowledged bytes before a reset.
   */
  readonly timer: Timer;
  /** The previous delay of `timer`, ms. */
  wait: number;
  closed: boolean;
  /** The PROXY header for the target, while it waits for a pipe. */
  header: Buffer | undefined;
  /** The client in log messages, if a PROXY header has named it. */
  clientName: string | undefined;
}

/** The client in log messages: "127.0.0.1:51234". */
export function describeClient({ client, clientName }: Connection): string {
  return clientName ?? peerOf(client.fd) ?? '(gone)';
}

/** Counts the source of a client that is no front forwarder's any more, and has its connection outlive the process if it gets old enough. */
export function takeOver(connection: Connection): void {
  const { relay, client } = connection;
  if (relay.sources !== undefined) {
    connection.source = sourceOf(client.fd);
    if (connection.source !== undefined) countOpened(relay.sources, connection.source);
  }
  // A unix socket has no state that would tell whether its target has accepted. So it has to be connected.
  if (!hasUnixEnd(connection)) relay.survivors?.opened(connection);
}

/** Whether one of its sockets is a unix one. */
export function hasUnixEnd({ client, target }: Connection): boolean {
  return client.isUnix || target.isUnix;
}

/** Closes both sockets in order and releases what the connection holds. */
export function close(connection: Connection): void {
  if (connection.closed) return;
  for (const end of [connection.client, connection.target]) {
    if (end.hasStreamOptions && !end.reset && end.fd >= 0) endOnClose(end.fd);
    // close(2) sends no FIN while the service manager or a front forwarder has a duplicate.
    if (isShared(connection) && !end.reset && end.fd >= 0) shutdown(end.fd, end.isUnix ? SHUT_RDWR : SHUT_WR);
  }
  if (connection.stored !== undefined) noteFlags(connection.stored, ENDED);
  dispose(connection);
}

/** Closes both sockets with a reset and releases what the connection holds. */
export function closeWithReset(connection: Connection): void {
  if (connection.closed) return;
  for (const end of [connection.client, connection.target]) {
    if (!end.hasStreamOptions && end.fd >= 0) resetOnClose(end.fd);
  }
  if (connection.stored !== undefined) noteFlags(connection.stored, ENDED);
  if (isShared(connection)) {
    // close(2) sends no reset while there is a duplicate.
    for (const { fd, isUnix } of [connection.client, connection.target]) {
      if (fd >= 0 && isUnix) shutdown(fd, SHUT_RDWR);
      else if (fd >= 0) disconnect(fd);
    }
  }
  dispose(connection);
}

/** Closes the connection to the target, and leaves the client to the front forwarder that has offered it. */
export function giveBack(connection: Connection): void {
  if (connection.closed) return;
  if (connection.target.fd >= 0) resetOnClose(connection.target.fd);
  dispose(connection);
}

/** Whether another process may have duplicates of its sockets. */
function isShared({ stored, isHandedOff }: Connection): boolean {
  return stored !== undefined || isHandedOff;
}

function dispose(connection: Connection): void {
  const { relay, client, target, up, down } = connection;
  noteServed(connection);
  connection.closed = true;
  connection.offer?.gone();
  connection.offer = undefined;
  up.done = true;
  down.done = true;
  stop(relay.loop.timers, connection.timer);
  // A peer that pauses reading would lose the rest of what was sent, and nothing checks the socket any more. The kernel has
  // its own limit for those (tcp_orphan_retries, tcp(7)).
  if (relay.clientTimeout !== undefined) setUserTimeout(client.fd, 0);
  if (relay.targetTimeout !== undefined) setUserTimeout(target.fd, 0);
  if (isShared(connection)) {
    // close(2) does not end that either while there is a duplicate (epoll(7)). Its events would be taken for
    // those of the next socket with this number.
    unwatch(relay.loop, client);
    unwatch(relay.loop, target);
  }
  scheduleClose(relay.loop, client);
  scheduleClose(relay.loop, target);
  if (connection.attempts !== undefined)
    for (const attempt of connection.attempts) scheduleClose(relay.loop, attempt);
  if (connection.spare >= 0) closeDescriptor(connection.spare);
  empty(relay, up);
  empty(relay, down);
  relay.open -= 1;
  relay.counters.open -= 1;
  relay.connections?.delete(connection);
  if (relay.sources !== undefined && connection.source !== undefined)
    countClosed(relay.sources, connection.source);
  relay.survivors?.ended(connection);
  relay.onClose();
}

/** Releases the pipe of a flow, discarding the bytes in it. */
export function empty(relay: Relay, flow: Flow): void {
  if (flow.pipe === undefined) return;
  const { stored } = flow.from.connection;
  if (stored !== undefined) noteRelease(stored, flow.part);
  if (flow.held === 0) release(relay.pool, flow.pipe);
  else discard(relay.pool, flow.pipe);
  flow.pipe = undefined;
  flow.held = 0;
}

/**
 * Forgets that the target of a link to another machine fails, if a connection that is younger than the last failure is served. A
 * connection that has been accepted is not yet: the forwarder of that machine accepts before its target does.
 */
export function noteServed(connection: Connection): void {
  const { relay, connected, dialledAt, down } = connection;
  const { counters, loop, dialTimeout, rejectedAt } = relay;
  if (!leadsToForwarder(relay) || counters.failing === 0 || !connected || dialledAt <= rejectedAt) return;
  // The other machine waits for its target as long as this one would. Some protocols let only the client speak.
  if (down.bytes === 0 && !down.isFin && loop.now <= dialledAt + 2 * dialTimeout) return;
  counters.failing = 0;
  relay.onRejection?.('');
}

/** Whether the target is the forwarder of another machine, which accepts before its own target does. */
export function leadsToForwarder({ resolver, named }: Relay): boolean {
  return resolver !== undefined && named === undefined;
}
