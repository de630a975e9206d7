import { parseMachine } from '../api/address.js';
import { withLine } from '../api/client.js';
import { Unreachable } from '../api/connect.js';
import { Failure } from '../api/failure.js';
import { withLock } from '../lock.js';
import { sweep } from './raise.js';
import { tunnelFor } from './tunnels.js';
import { removeTunnel } from './unit.js';
import { NoTunnel } from './up.js';
import { usedBy } from './used-by.js';

/** What has become of a tunnel: `peerAway` says that the other machine could not be told, and has its side still. */
export interface DeletedTunnel {
  id: string;
  peer: string;
  peerAway: boolean;
}

/**
 * Deletes a tunnel, here at once and then on the other machine.
 *
 * @param force also while links use it, which then lead nowhere
 * @throws NoTunnel; Error while links use it; JobError, IpError; KeyUnusable, Failure, when it is gone here and the other
 *   machine refuses
 */
export async function deleteTunnel(name: string, force: boolean): Promise<DeletedTunnel> {
  await withLock('tunnels', sweep);
  const tunnel = await tunnelFor(name);
  if (!tunnel) throw new NoTunnel(`no tunnel to "${name}": see wormhole tunnel-list`);
  const { id, peer, keyFile } = tunnel;
  const users = await usedBy(tunnel);
  if (users.length > 0 && !force) {
    const links = users.map((link) => `wormhole delete ${link}`).join('; ');
    throw new Error(`the tunnel to ${peer} is in use: ${links}; or tunnel-delete --force ${peer}`);
  }
  await removeTunnel(tunnel);
  try {
    await withLine({ address: parseMachine(peer), keyFile }, (ask) => ask('DELETE', `/v1/tunnels/${id}`));
  } catch (error) {
    if (error instanceof Unreachable) return { id, peer, peerAway: true };
    // It has gone there already.
    if (!(error instanceof Failure && error.code === 'not-found')) throw error;
  }
  return { id, peer, peerAway: false };
}
