import { farChildOf } from '../recipe/link.js';
import { readLinks } from '../state/links.js';
import type { Tunnel } from '../units/tunnel.js';
import { findTunnel } from './find.js';

/** The ids of the links that lead through a tunnel: of those created here, and of the parts of links at its other end. */
export async function linksThrough({ id, inner }: Tunnel): Promise<string[]> {
  const users: string[] = [];
  for (const { root, link } of readLinks().links) {
    const far = farChildOf(link);
    const leadsThrough = far && far.kind !== 'remote' && (await findTunnel(far.peer))?.id === id;
    if (leadsThrough || link.head.host === inner.local) users.push(root);
  }
  return users;
}
