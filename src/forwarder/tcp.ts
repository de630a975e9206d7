import type { Connection, End, Flow, Relay } from './connection.js';
import { answered, dial, dialTimer } from './dial.js';
import { drain, fill, hungUp, passReset, READABLE } from './flow.js';
import { add } from './loop.js';
import { EPOLLERR, EPOLLHUP, EPOLLOUT, EPOLLRDHUP } from './syscalls.js';
import { timer } from './timers.js';

/** Serves a client that was just accepted, a non-blocking socket: connects it to the target. */
export function serve(relay: Relay, client: number): void {
  const connection = createConnection(relay, client);
  relay.open += 1;
  relay.served += 1;
  relay.connections?.add(connection);
  relay.onOpen();
  add(relay.loop, connection.client);
  dial(connection);
}

function createConnection(relay: Relay, fd: number): Connection {
  const connection = {
    relay,
    connected: false,
    refusals: 0,
    failure: 0,
    dialled: relay.loop.now,
    deadline: relay.loop.now + relay.dialTimeout,
    wait: 0,
    closed: false,
  } as Mutable<Connection>;
  const client = createEnd(connection, fd);
  const target = createEnd(connection, -1);
  connection.client = client;
  connection.target = target;
  connection.up = client.reads = target.writes = createFlow(client, target);
  connection.down = target.reads = client.writes = createFlow(target, client);
  connection.timer = timer(() => (connection.connected ? passReset(connection) : dialTimer(connection)));
  return connection;
}

type Mutable<T> = { -readonly [key in keyof T]: T[key] };

function createEnd(connection: Connection, fd: number): Mutable<End> {
  return { fd, wanted: READABLE, mask: -1, changed: false, ready, connection, reset: false } as Mutable<End>;
}

function createFlow(from: End, to: End): Flow {
  return { from, to, pipe: undefined, held: 0, ended: false, done: false, starved: false };
}

function ready(this: End, events: number): void {
  const { connection } = this;
  if (!connection.connected && this === connection.target && !answered(connection, events)) return;
  if ((events & (EPOLLERR | EPOLLHUP)) !== 0) {
    hungUp(this, events);
    return;
  }
  if ((events & EPOLLOUT) !== 0) drain(this.writes);
  if ((events & READABLE) !== 0) fill(this.reads, (events & EPOLLRDHUP) !== 0);
}
