import { addressesOf, farChildOf } from '../recipe/link.js';
import { isUnix } from '../recipe/recipe.js';
import { readLinks } from '../state/links.js';
import type { Tunnel } from '../units/tunnel.js';
import { findTunnel } from './find.js';

/** The ids of the links that lead through a tunnel: of those created here, and of the parts of links at its other end. */
export async function linksThrough({ id, inner }: Tunnel): Promise<string[]> {
  const users: string[] = [];
  for (const { root, link } of readLinks().links) {
    const far = farChildOf(link);
    const leadsThrough = far && far.kind !== 'remote' && (await findTunnel(far.peer))?.id === id;
    const isIn = addressesOf(link.head).some((head) => !isUnix(head) && head.host === inner.local);
    if (leadsThrough || isIn) users.push(root);
  }
  return users;
}
