import { ownIdentity } from '../../state/identity.js';
import { allow, refuse, refusedPeers } from '../../state/peers.js';
import { forgetDeletion, pendingDeletions } from '../../state/pending-deletions.js';
import { readTunnels } from '../../state/tunnels.js';
import { withdrawAnswer } from '../../tunnels/respond.js';
import { removeTunnel } from '../../tunnels/unit.js';
import { deleteLink, NoSuchLink } from '../delete.js';
import { findPeer, NoSuchPeer, type Peer } from './peers.js';

/**
 * Refuses a machine from now on, and removes all that it has here: the links that lead to it or that it has created, its parts of
 * links, its tunnels, and what it has yet to be told. It is told nothing, and keeps what it has of them.
 *
 * @param machine its name or its id; an id may be unknown here
 * @returns the machine as it was known
 * @throws NoSuchPeer, InvalidEndpoint; as deleteLink; JobError, IpError. It is refused then already
 */
export async function revokePeer(machine: string): Promise<Peer & { id: string }> {
  const peer = findPeer(machine);
  const { id, names } = peer;
  if (id === undefined)
    throw new NoSuchPeer(
      `no machine has answered to "${machine}" yet, so there is none to refuse: wormhole delete its links`,
    );
  if (id === ownIdentity().id)
    throw new NoSuchPeer(
      `"${machine}" is this machine, which does not refuse itself: wormhole delete deletes its links`,
    );
  refuse(id, names);
  for (const root of new Set([...peer.parts, ...peer.links].map((link) => link.root)))
    await deleteIfThere(root);
  // From here on no tunnel of its comes to be, so those that there are now are all.
  await withdrawAnswer(id);
  const tunnels = readTunnels().tunnels.filter(({ machine }) => machine === id);
  for (const tunnel of tunnels) await removeTunnel(tunnel, `machine ${tunnel.peer} is refused here`);
  for (const deletion of pendingDeletions()) {
    const isIts = deletion.kind === 'tunnel' ? deletion.tunnel.machine === id : names.includes(deletion.peer);
    if (isIts) forgetDeletion(deletion);
  }
  return { ...peer, id, tunnels };
}

/**
 * Does not refuse a machine any more. What was removed stays removed.
 *
 * @param machine its id, or a name that it had here
 * @returns its id
 * @throws NoSuchPeer
 */
export function allowPeer(machine: string): string {
  const found = refusedPeers().filter(({ id, names }) => id === machine || names.includes(machine));
  const [one, ...more] = found;
  if (!one) throw new NoSuchPeer(`no machine "${machine}" is refused here: see wormhole peers`);
  if (more.length > 0)
    throw new NoSuchPeer(
      `several machines called "${machine}" are refused: say which, by its id (${found.map(({ id }) => id).join(', ')})`,
    );
  allow(one.id);
  return one.id;
}

/** Deletes a link that the deletion of another one may have deleted already. */
async function deleteIfThere(id: string): Promise<void> {
  try {
    await deleteLink(id, { tell: false });
  } catch (error) {
    if (!(error instanceof NoSuchLink)) throw error;
  }
}
