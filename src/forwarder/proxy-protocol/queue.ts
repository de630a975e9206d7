import type { Connection } from '../connection.js';
import { acquire, release } from '../pipes.js';
import { noteHeld, noteUnstored } from '../store/memory.js';
import { EPOLLOUT, pinned, write } from '../syscalls.js';
import { LONGEST_SENT_HEADER } from './format.js';

const room = pinned(LONGEST_SENT_HEADER);

/**
 * Puts the header of a connection into the pipe that leads to the target, in which no bytes of the client are yet. From there it
 * goes the way of bytes that a target has not taken: it leaves when the target accepts, and is kept with a stored session.
 * Until that is done nothing is read from the client. Returns false if there is no pipe now; then it has to be called again.
 */
export function queueHeader(connection: Connection): boolean {
  const { relay, up, client, target, header, stored } = connection;
  if (header === undefined) return true;
  client.wanted = 0;
  up.isSuspended = true;
  const pipe = acquire(relay.pool);
  if (pipe === undefined) return false;
  room.bytes.set(header);
  // A pipe takes so few bytes as a whole or not at all (PIPE_BUF, pipe(7)).
  if (write(pipe.into, room.address, header.length) !== header.length) {
    release(relay.pool, pipe);
    return false;
  }
  up.pipe = pipe;
  up.held = header.length;
  up.isSuspended = false;
  connection.header = undefined;
  target.wanted |= EPOLLOUT;
  if (stored !== undefined) {
    if (stored.store.protect(pipe)) noteHeld(stored, up.part, pipe.id, up.bytes);
    else noteUnstored(stored, up.part);
  }
  return true;
}
