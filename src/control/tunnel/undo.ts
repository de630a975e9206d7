import type { FarLink } from '../far.js';
import { deleteTunnel } from './delete.js';
import { tunnelFor } from './tunnels.js';
import { usedBy } from './used-by.js';

/**
 * What takes the tunnel back that a link is about to make, should its create fail: nothing when there is a tunnel already,
 * or none is asked for. One that another link uses by then stays.
 */
export async function tunnelToUndo({ link }: FarLink): Promise<() => Promise<void>> {
  const { kinship, peer } = link.child;
  if (kinship === 'remote' || (await tunnelFor(peer)) !== undefined) return async () => {};
  return async () => {
    const made = await tunnelFor(peer);
    if (made && (await usedBy(made)).length === 0) await deleteTunnel(peer, false);
  };
}
