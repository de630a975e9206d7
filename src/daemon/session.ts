import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { Failure } from '../api/failure.js';
import { checkProof, createProof, type Proof } from '../api/proof.js';
import { requireAllowed } from '../api/require-allowed.js';
import { ownIdentity } from '../state/identity.js';
import { readBody } from './body.js';

/** The machines that have proved who they are, by their connections. */
const proved = new WeakMap<Socket, string>();

/**
 * Reads the first request of a connection, by which a machine proves who it is.
 *
 * @returns the proof of this machine
 * @throws Failure, when the caller does not, or is refused
 */
export async function openSession(request: IncomingMessage): Promise<Proof> {
  const { socket, method } = request;
  if (!(socket instanceof TLSSocket))
    throw new Failure('usage', 'a user of this machine needs no session', 403);
  if (method !== 'PUT') throw new Failure('usage', `${request.url} takes PUT, not ${method}`, 405);
  const id = checkProof(await readBody(request), { session: socket, side: 'client', what: 'the body' });
  if (id === undefined)
    throw new Failure('usage', 'your signature is not for this session: is there a relay between us?', 403);
  requireAllowed(id);
  proved.set(socket, id);
  return createProof(ownIdentity(), socket, 'server');
}

/** The id of the machine at the other end of a connection. @throws Failure when it has not proved any, or is refused */
export function provedMachine(socket: Socket): string {
  const id = proved.get(socket);
  if (id === undefined)
    throw new Failure(
      'usage',
      'prove your identity first: this needs the same version of wormhole as here',
      403,
    );
  requireAllowed(id);
  return id;
}
