import type { TLSSocket } from 'node:tls';
import { ownIdentity } from '../state/identity.js';
import { isRefused, pin, pinnedId } from '../state/peers.js';
import { type Machine, Unreachable } from './connect.js';
import { endpointText, peerName, type TcpEndpoint } from './endpoint.js';
import type { SendRequest } from './exchange.js';
import { Failure } from './failure.js';
import { checkProof, createProof } from './proof.js';
import { SESSION_PATH } from './schema.js';

/** A machine has proved that it is another one than it was before, or no machine at all: it is asked for nothing. */
export class WrongIdentity extends Unreachable {}

/**
 * Exchanges proofs of identity with the machine at the other end of a TLS session.
 *
 * Unless a machine is expected, the first one that answers to a name is remembered, and no other one counts as it from then on.
 *
 * @returns the id of the machine
 * @throws WrongIdentity when it is not the expected one, not the one that has answered to its name before, or refused here;
 *   Unreachable
 */
export async function identify(
  { endpoint, id: expected }: Machine & { endpoint: TcpEndpoint },
  session: TLSSocket,
  send: SendRequest,
): Promise<string> {
  const id = await provedId(endpoint, session, send);
  const name = peerName(endpoint);
  const wanted = expected ?? pinnedId(name);
  if (wanted !== undefined && wanted !== id) throw otherIdentity(name, wanted, id);
  if (isRefused(id))
    throw new WrongIdentity(`machine ${name} (${id}) is refused here: wormhole peers allow ${id}`);
  if (wanted !== undefined || process.geteuid?.() !== 0) return id;
  const pinned = pin(name, id);
  if (pinned !== id) throw otherIdentity(name, pinned, id);
  return id;
}

async function provedId(endpoint: TcpEndpoint, session: TLSSocket, send: SendRequest): Promise<string> {
  const where = endpointText(endpoint);
  const body = createProof(ownIdentity(), session, 'client');
  let answer: unknown;
  try {
    answer = await send({ method: 'PUT', path: SESSION_PATH, body });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.code === 'not-found')
      throw new WrongIdentity(
        `${where} runs a wormholed that cannot prove its identity: install this version there`,
      );
    throw Object.assign(new WrongIdentity(`${where}: ${error.message}`), { cause: error });
  }
  let id: string | undefined;
  try {
    id = checkProof(answer, { session, side: 'server', what: 'the answer' });
  } catch (error) {
    throw new WrongIdentity(`${where} does not prove its identity: ${(error as Error).message}`);
  }
  if (id === undefined)
    throw new WrongIdentity(
      `${where} does not prove its identity: its signature is not for this session. Is there a relay?`,
    );
  return id;
}

function otherIdentity(name: string, before: string, now: string): WrongIdentity {
  return new WrongIdentity(
    `machine ${name} has another identity than before: ${now}, not ${before}. Nothing is changed. Does a relay, or a wrong address, lead to another machine? If ${name} was reinstalled, and prints ${now} for "wormhole ping": wormhole peers accept ${name} ${now}`,
  );
}
