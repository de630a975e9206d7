import type { Tunnel } from '../../units/tunnel.js';
import { readLinks } from '../links.js';
import { tunnelFor } from './tunnels.js';

/** The ids of the links that lead through a tunnel: of those made here, and of the parts of links at its other end. */
export async function usedBy({ id, local }: Tunnel): Promise<string[]> {
  const users: string[] = [];
  for (const { root, link } of readLinks().links) {
    const { kinship, peer } = link.child ?? {};
    const leads =
      (kinship === 'tunnel' || kinship === 'udptunnel') && (await tunnelFor(peer ?? ''))?.id === id;
    if (leads || link.head.host === local) users.push(root);
  }
  return users;
}
