import type { SendRequest } from '../api/client.js';
import { checkPeerStatus, type PeerStatus } from '../api/tunnel-schema.js';
import { ownMachineId } from '../state/machine-id.js';
import type { Tunnel } from '../units/tunnel.js';
import { statusOf } from './kernel.js';

/** Asks a machine for its id, and what it has of a tunnel with this one. @throws Failure, Unreachable */
export async function requestPeerStatus(send: SendRequest): Promise<PeerStatus> {
  const own = ownMachineId();
  const status = checkPeerStatus(await send({ method: 'GET', path: `/v1/tunnels/with/${own}` }));
  if (status.machine !== own) return status;
  throw new Error('that is this machine itself, or a copy of it with the same /etc/machine-id');
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
