import { parsePeerEndpoint, peerName } from '../../api/endpoint.js';
import { farChildOf } from '../../recipe/link.js';
import { readLinks } from '../../state/links.js';
import { isMachineId, pinnedPeers, refusedPeers } from '../../state/peers.js';
import { readTunnels } from '../../state/tunnels.js';
import type { PlannedLink } from '../../units/plan.js';
import type { Tunnel } from '../../units/tunnel.js';

/**
 * Another machine, as far as it is known here: its id, and the names by which it is called. `links` lead to it, or were created by
 * it; `parts` are those of links that it has; and `tunnels` are shared with it. The `id` is undefined while none of its names has been
 * answered to.
 */
export interface Peer {
  id: string | undefined;
  names: string[];
  links: PlannedLink[];
  parts: PlannedLink[];
  tunnels: Tunnel[];
  refused: boolean;
}

/** There is no machine of that name or id, or more than one. */
export class NoSuchPeer extends Error {}

/** Lists the machines that are known here, by whatever. */
export function knownPeers(): Peer[] {
  const pinned = new Map(pinnedPeers().map(({ name, id }) => [name, id]));
  const peers = new Map<string, Peer>();
  const peer = (id: string | undefined, name?: string): Peer => {
    const key = id ?? `name ${name}`;
    const found = peers.get(key) ?? { id, names: [], links: [], parts: [], tunnels: [], refused: false };
    if (name !== undefined && !found.names.includes(name)) found.names.push(name);
    peers.set(key, found);
    return found;
  };
  for (const [name, id] of pinned) peer(id, name);
  for (const link of readLinks().links) {
    const far = farChildOf(link.link);
    if (far) {
      const name = nameOf(far.peer);
      peer(pinned.get(name), name).links.push(link);
    }
    if (link.creator !== undefined) peer(link.creator).links.push(link);
    if (link.owner?.identity !== undefined) peer(link.owner.identity).parts.push(link);
  }
  for (const tunnel of readTunnels().tunnels) peer(tunnel.machine, nameOf(tunnel.peer)).tunnels.push(tunnel);
  for (const { id, names } of refusedPeers()) {
    const refused = peer(id);
    refused.refused = true;
    for (const name of names) peer(id, name);
  }
  return [...peers.values()];
}

/**
 * Finds a machine by its id, by a name that it has here, or by the one that it gives itself as the owner of parts.
 *
 * @throws NoSuchPeer; InvalidEndpoint when it cannot be the name of a machine
 */
export function findPeer(text: string): Peer {
  const peers = knownPeers();
  const byId = peers.filter(({ id }) => id === text);
  if (byId.length === 0 && isMachineId(text))
    return { id: text, names: [], links: [], parts: [], tunnels: [], refused: false };
  const name = byId.length > 0 ? '' : nameOf(text);
  const byName = peers.filter(({ names }) => names.includes(name));
  const byOwnName = peers.filter(({ parts }) => parts.some(({ owner }) => owner?.machine === text));
  const found = [byId, byName, byOwnName].find(({ length }) => length > 0) ?? [];
  const [peer, ...more] = found;
  if (peer && more.length === 0) return peer;
  if (!peer) throw new NoSuchPeer(`no machine "${text}" is known here: see wormhole peers`);
  const ids = found.map(({ id }) => id).join(', ');
  throw new NoSuchPeer(`several machines are called "${text}" here: say which, by its id (${ids})`);
}

function nameOf(peer: string): string {
  const endpoint = parsePeerEndpoint(peer);
  return endpoint.kind === 'tcp' ? peerName(endpoint) : peer;
}
