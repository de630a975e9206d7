import { peerOf } from './address.js';
import { type Connection, type End, type Flow, READABLE, type Relay, takeOver } from './connection.js';
import { abort, checkHandshake, dial, dialFailed, onDialTimer } from './dial.js';
import { drain, fill, handleHangup, passReset } from './flow.js';
import type { Offer } from './hand-off/offer.js';
import { add, type Loop, modify, type Watch } from './loop.js';
import { queueHeader } from './proxy-protocol/queue.js';
import { enqueue } from './scheduler.js';
import { resetOnClose } from './socket-options.js';
import { DOWN, type Part, UP } from './store/memory.js';
import { AF_UNIX, EPOLLERR, EPOLLHUP, EPOLLOUT, EPOLLPRI, errorWords } from './syscalls.js';
import { createTimer } from './timers.js';

/** What PROXY headers are about a client. */
export interface ProxyInfo {
  /** The header that the target gets; absent: none. */
  readonly header?: Buffer;
  /** The client in log messages, if it has sent a header that names it: "192.0.2.1:40000 behind 10.0.0.1:50000". */
  readonly name?: string;
  /** The bytes of the header that it has sent, which are not in its socket any more. */
  readonly headerBytes?: number;
}

/** A client that has been accepted: whether its socket is a unix one, and what it or its target is told in PROXY headers. */
export interface Accepted {
  readonly isUnix: boolean;
  readonly proxyInfo?: ProxyInfo | undefined;
}

/** Serves an accepted client, a non-blocking socket. */
export type Serve = (relay: Relay, client: number, accepted: Accepted) => void;

/**
 * Connects an accepted client to the target. One that a front forwarder has offered is read only when the target has accepted.
 */
export function serve(
  relay: Relay,
  client: number,
  { isUnix, proxyInfo, offer }: Accepted & { readonly offer?: Offer },
): void {
  const connection = createConnection(relay, client, isUnix);
  if (offer !== undefined) {
    connection.offer = offer;
    connection.isHandedOff = true;
    connection.client.wanted = 0;
  }
  opened(connection);
  if (proxyInfo !== undefined) applyProxyInfo(connection, proxyInfo);
  add(relay.loop, connection.client);
  if (!connection.closed) dial(connection);
}

function applyProxyInfo(connection: Connection, { header, name, headerBytes = 0 }: ProxyInfo): void {
  connection.client.headerBytes = headerBytes;
  connection.clientName = name;
  connection.header = header;
  // Before the first byte of the client. If there is no pipe, dial() tries again.
  queueHeader(connection);
}

/** Counts a connection as open. */
export function opened(connection: Connection): void {
  const { relay } = connection;
  relay.open += 1;
  relay.counters.open += 1;
  relay.connections?.add(connection);
  // Until the target has accepted, the client is the front forwarder's.
  if (connection.offer === undefined) takeOver(connection);
  relay.onOpen();
}

/**
 * Makes all open sessions end with a reset when the process exits. A FIN would tell the peers that they have
 * received everything. Most sockets have the option already.
 */
export function resetOpenSessions(loop: Loop): void {
  for (const watch of loop.watches) {
    if (watch !== undefined && isEnd(watch) && !watch.hasStreamOptions) resetOnClose(watch.fd);
  }
}

function isEnd(watch: Watch): watch is End {
  return 'connection' in watch;
}

/** Creates a connection for a client that has no target yet; its socket is a unix one if `isUnix`. */
export function createConnection(relay: Relay, fd: number, isUnix: boolean): Connection {
  const connection = {
    relay,
    connected: false,
    failure: 0,
    source: undefined,
    openedAt: relay.loop.now,
    stored: undefined,
    spare: -1,
    device: undefined,
    storedTarget: -1,
    offer: undefined,
    isHandedOff: false,
    dialledAt: relay.loop.now,
    deadline: relay.loop.now + relay.dialTimeout,
    dialled: undefined,
    candidate: 0,
    attempts: undefined,
    wait: 0,
    closed: false,
    header: undefined,
    clientName: undefined,
  } as Mutable<Connection>;
  const client = createEnd(connection, fd, isUnix);
  const target = createEnd(connection, -1, relay.to?.family === AF_UNIX);
  connection.client = client;
  connection.target = target;
  connection.up = client.reads = target.writes = createFlow(client, target, UP);
  connection.down = target.reads = client.writes = createFlow(target, client, DOWN);
  connection.timer = createTimer(() =>
    connection.connected ? passReset(connection) : onDialTimer(connection),
  );
  return connection;
}

type Mutable<T> = { -readonly [key in keyof T]: T[key] };

function createEnd(connection: Connection, fd: number, isUnix: boolean): Mutable<End> {
  return {
    fd,
    wanted: READABLE,
    mask: -1,
    changed: false,
    ready,
    refused,
    connection,
    isUnix,
    reset: false,
    queuedEvents: 0,
    written: false,
    // A client has inherited them, and a unix socket needs none.
    hasStreamOptions: fd >= 0 || isUnix,
    headerBytes: 0,
  } as Mutable<End>;
}

function createFlow(from: End, to: End, part: Part): Flow {
  return {
    from,
    to,
    part,
    pipe: undefined,
    held: 0,
    bytes: 0,
    ended: false,
    isFin: false,
    done: false,
    isSuspended: false,
    isBulk: false,
    smallReads: 0,
  };
}

function ready(this: End, events: number): void {
  const { connection } = this;
  if (!connection.connected && this === connection.target && !checkHandshake(connection, events)) return;
  if ((events & (EPOLLERR | EPOLLHUP)) !== 0) {
    handleHangup(this, events);
    return;
  }
  if (this.reads.isBulk || this.writes.isBulk) enqueue(this, events);
  else move(this, events);
}

/** Reads from and writes to a socket for which these events were reported. */
export function move(end: End, events: number): void {
  if ((events & EPOLLOUT) !== 0) drain(end.writes);
  // Urgent data that arrived ahead of lost bytes cannot be read yet, and would be reported on every round
  // until they arrive.
  if ((events & READABLE) === EPOLLPRI) modify(end.connection.relay.loop, end, end.wanted & ~EPOLLPRI);
  else if ((events & READABLE) !== 0) fill(end.reads, events);
}

/**
 * Handles an end that the kernel refuses to watch. That costs this connection only; an attempt to connect is
 * repeated.
 */
function refused(this: End, failure: number): void {
  const { connection } = this;
  const { client, target, relay } = connection;
  if (this === target && !connection.connected && peerOf(target.fd) === undefined) {
    dialFailed(connection, failure);
    return;
  }
  const end = this === client ? 'its client' : relay.target;
  abort(connection, `failed watch ${failure}`, `the kernel does not watch ${end} (${errorWords(failure)})`);
}
