import { type Connection, type End, type Flow, READABLE, type Relay } from './connection.js';
import { answered, dial, dialFailed, dialTimer, sendAway } from './dial.js';
import { drain, fill, hungUp, passReset } from './flow.js';
import { add, type Loop, type Watch, want } from './loop.js';
import { resetOnClose } from './reset.js';
import { EPOLLERR, EPOLLHUP, EPOLLOUT, EPOLLPRI, errorWords } from './syscalls.js';
import { timer } from './timers.js';
import { queueTurn } from './turns.js';

/** Serves a client that was just accepted, a non-blocking socket: connects it to the target. */
export function serve(relay: Relay, client: number): void {
  const connection = createConnection(relay, client);
  relay.open += 1;
  relay.served += 1;
  relay.connections?.add(connection);
  relay.onOpen();
  add(relay.loop, connection.client);
  if (!connection.closed) dial(connection);
}

/**
 * Makes every open connection end with a reset on both sides when the process ends: a FIN would tell the peers that they
 * have received everything.
 */
export function resetOpenSessions(loop: Loop): void {
  for (const watch of loop.watches) {
    if (watch !== undefined && isEnd(watch)) resetOnClose(watch.fd);
  }
}

function isEnd(watch: Watch): watch is End {
  return 'connection' in watch;
}

function createConnection(relay: Relay, fd: number): Connection {
  const connection = {
    relay,
    connected: false,
    failure: 0,
    dialled: relay.loop.now,
    deadline: relay.loop.now + relay.dialTimeout,
    wait: 0,
    closed: false,
  } as Mutable<Connection>;
  const client = createEnd(connection, fd, true);
  const target = createEnd(connection, -1, false);
  connection.client = client;
  connection.target = target;
  connection.up = client.reads = target.writes = createFlow(client, target);
  connection.down = target.reads = client.writes = createFlow(target, client);
  connection.timer = timer(() => (connection.connected ? passReset(connection) : dialTimer(connection)));
  return connection;
}

type Mutable<T> = { -readonly [key in keyof T]: T[key] };

function createEnd(connection: Connection, fd: number, noDelay: boolean): Mutable<End> {
  return {
    fd,
    wanted: READABLE,
    mask: -1,
    changed: false,
    ready,
    refused,
    connection,
    reset: false,
    queued: 0,
    written: false,
    noDelay,
  } as Mutable<End>;
}

function createFlow(from: End, to: End): Flow {
  return {
    from,
    to,
    pipe: undefined,
    held: 0,
    ended: false,
    done: false,
    starved: false,
    isBulk: false,
    smallReads: 0,
  };
}

function ready(this: End, events: number): void {
  const { connection } = this;
  if (!connection.connected && this === connection.target && !answered(connection, events)) return;
  if ((events & (EPOLLERR | EPOLLHUP)) !== 0) {
    hungUp(this, events);
    return;
  }
  if (this.reads.isBulk || this.writes.isBulk) queueTurn(this, events);
  else move(this, events);
}

/** Moves what can be moved from and to a socket of which these events were reported. */
export function move(end: End, events: number): void {
  if ((events & EPOLLOUT) !== 0) drain(end.writes);
  // Urgent data that has overtaken lost bytes cannot be read yet, and would be reported until they have come again.
  if ((events & READABLE) === EPOLLPRI) want(end.connection.relay.loop, end, end.wanted & ~EPOLLPRI);
  else if ((events & READABLE) !== 0) fill(end.reads, events);
}

/** The kernel does not watch this end: that costs this connection and no other. A dial is tried again. */
function refused(this: End, failure: number): void {
  const { connection } = this;
  const { client, target, relay } = connection;
  if (this === target && !connection.connected) {
    dialFailed(connection, failure);
    return;
  }
  const end = this === client ? 'its client' : relay.target;
  resetOnClose(target.fd);
  sendAway(connection, `watch ${failure}`, `the kernel does not watch ${end} (${errorWords(failure)})`);
}
