import { recordDeletion, type TunnelDeletion } from '../state/pending-deletions.js';
import { carryOutTunnelDeletion } from './carry-out-deletion.js';
import { findTunnel, NoSuchTunnel } from './find.js';
import { linksThrough } from './links-through.js';
import { repairTunnels } from './repair.js';
import { removeTunnel } from './unit.js';

/** A tunnel that is deleted here. `left` says why the other machine could not be told, and still has its side. */
export interface DeletedTunnel {
  peer: string;
  left?: string;
}

/**
 * Deletes a tunnel, here at once and then on the other machine, or as soon as that can be reached.
 *
 * With `force`, also while links use it. Those lead nowhere then, and the kernel goes on blocking clear text to and from the
 * tunnel's addresses for as long as they exist. The next connection asks for the tunnel again.
 *
 * @throws NoSuchTunnel; Error while links use it; JobError, IpError
 */
export async function deleteTunnel(name: string, { force }: { force: boolean }): Promise<DeletedTunnel> {
  await repairTunnels();
  const tunnel = await findTunnel(name);
  if (!tunnel) throw new NoSuchTunnel(name);
  const { peer, keyFile } = tunnel;
  const users = await linksThrough(tunnel);
  if (users.length > 0 && !force) {
    const links = [...new Set(users.map(({ root }) => `wormhole delete ${root}`))].join('; ');
    throw new Error(`the tunnel to ${peer} is in use: ${links}; or tunnel-delete --force ${peer}`);
  }
  const deletion: TunnelDeletion = { kind: 'tunnel', peer, keyFile, until: 0, tunnel };
  const held = recordDeletion(deletion);
  try {
    await removeTunnel(tunnel, `the tunnel to ${peer} was deleted on this machine`);
  } finally {
    held.release();
  }
  const left = await carryOutTunnelDeletion(deletion);
  if (left === undefined) return { peer };
  await repairTunnels();
  return { peer, left };
}
