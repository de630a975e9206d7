import type { FarLink } from '../../recipe/link.js';
import { deleteTunnel } from '../../tunnels/delete.js';
import { findTunnel } from '../../tunnels/find.js';
import { linksThrough } from '../../tunnels/links-through.js';

/**
 * Prepares to delete the tunnel that a link is about to create, if its create fails. The returned function does nothing when
 * there is a tunnel already, when the link has none, or when another link has begun to use it.
 */
export async function tunnelUndo({ child: { kind, peer } }: FarLink): Promise<() => Promise<void>> {
  if (kind === 'remote' || (await findTunnel(peer)) !== undefined) return async () => {};
  return async () => {
    const created = await findTunnel(peer);
    if (created && (await linksThrough(created)).length === 0) await deleteTunnel(peer, { force: false });
  };
}
