import type { Connection, Relay } from '../connection.js';
import { READABLE } from '../connection.js';
import { add, release } from '../loop.js';
import { createPipe, detachPipe } from '../pipes.js';
import { createConnection, opened } from '../serve.js';
import { EPOLLOUT } from '../syscalls.js';
import { stop } from '../timers.js';

/*
 * A client that a front forwarder has offered is connected by the first thread, which answers the front. When the target has accepted,
 * a worker goes on with both sockets. Nothing has been read from either by then; a PROXY header for the target may be in a pipe.
 */

/** What a worker gets of a connection: its sockets and the pipe with the header, or -1, as numbers; and the client in log messages. */
export interface PassedOn {
  readonly words: readonly number[];
  readonly name: string;
}

/** Takes a connection away from a thread. Its descriptors stay open, and are nobody's until another thread has them. */
export function detach(connection: Connection): PassedOn {
  const { relay, client, target, up, down, clientName = '' } = connection;
  const pipe = up.pipe === undefined ? -1 : detachPipe(relay.pool, up.pipe);
  const words = [
    release(relay.loop, client),
    release(relay.loop, target),
    client.isUnix ? 1 : 0,
    client.headerBytes,
    pipe,
    up.held,
  ];
  connection.closed = true;
  up.done = true;
  down.done = true;
  up.pipe = undefined;
  up.held = 0;
  stop(relay.loop.timers, connection.timer);
  relay.open -= 1;
  relay.counters.open -= 1;
  relay.connections?.delete(connection);
  return { words, name: clientName };
}

/** Goes on with a connection that another thread has detached. */
export function adopt(relay: Relay, { words, name }: PassedOn): void {
  const [fd = -1, targetFd = -1, isUnix, headerBytes = 0, pipe = -1, held = 0] = words;
  const connection = createConnection(relay, fd, isUnix === 1);
  const { client, target, up } = connection;
  connection.connected = true;
  connection.isHandedOff = true;
  connection.clientName = name === '' ? undefined : name;
  client.headerBytes = headerBytes;
  if (pipe >= 0) {
    up.pipe = createPipe(relay.pool, pipe);
    up.held = held;
  }
  // The client is read as soon as the target has taken the header.
  client.wanted = 0;
  target.fd = targetFd;
  target.wanted = READABLE | EPOLLOUT;
  opened(connection);
  add(relay.loop, client);
  if (!connection.closed) add(relay.loop, target);
}
