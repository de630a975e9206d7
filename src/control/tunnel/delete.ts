import { owe } from '../owed.js';
import { pay } from '../pay.js';
import { mendTunnels } from './mend.js';
import { tunnelFor } from './tunnels.js';
import { removeTunnel } from './unit.js';
import { NoTunnel } from './up.js';
import { usedBy } from './used-by.js';

/** A tunnel that is gone here. `left` says why the other machine could not be told, and has its side still. */
export interface DeletedTunnel {
  peer: string;
  left?: string;
}

/**
 * Deletes a tunnel, here at once and then on the other machine, or as soon as that can be reached.
 *
 * @param force also while links use it, which then lead nowhere
 * @throws NoTunnel; Error while links use it; JobError, IpError
 */
export async function deleteTunnel(name: string, force: boolean): Promise<DeletedTunnel> {
  await mendTunnels();
  const tunnel = await tunnelFor(name);
  if (!tunnel) throw new NoTunnel(`no tunnel to "${name}": see wormhole tunnel-list`);
  const { id, peer, keyFile } = tunnel;
  const users = await usedBy(tunnel);
  if (users.length > 0 && !force) {
    const links = users.map((link) => `wormhole delete ${link}`).join('; ');
    throw new Error(`the tunnel to ${peer} is in use: ${links}; or tunnel-delete --force ${peer}`);
  }
  const debt = { key: id, peer, keyFile, tunnel, until: 0 };
  const open = owe(debt);
  try {
    await removeTunnel(tunnel);
  } finally {
    open.release();
  }
  const left = await pay(debt);
  if (left === undefined) return { peer };
  await mendTunnels();
  return { peer, left };
}
