import type { ProvedConnection } from '../api/client.js';
import type { SendRequest } from '../api/exchange.js';
import { checkPeerStatus, type PeerStatus } from '../api/tunnel-schema.js';
import { ownIdentity } from '../state/identity.js';
import type { Tunnel } from '../units/tunnel.js';
import { statusOf } from './kernel.js';

/** Asks a machine what it has of a tunnel with this one. @throws Failure, Unreachable; Error when it is this machine itself */
export async function requestPeerStatus(
  send: SendRequest,
  { machine }: ProvedConnection,
): Promise<PeerStatus> {
  if (machine === ownIdentity().id)
    throw new Error('that is this machine itself, or a copy of it with the same /etc/machine-id');
  return checkPeerStatus(await send({ method: 'GET', path: '/v1/tunnels/shared' }));
}

/** Whether both machines have a tunnel up, and each sends with what the other receives with. @throws IpError */
export async function isConsistent(tunnel: Tunnel, { tunnel: theirs }: PeerStatus): Promise<boolean> {
  if (theirs?.id !== tunnel.id) return false;
  const own = await statusOf(tunnel);
  return own.up && areReceived(own.out, theirs.in) && areReceived(theirs.out, own.in);
}

function areReceived(sent: number[], received: number[]): boolean {
  return sent.length > 0 && sent.every((spi) => received.includes(spi));
}
