import { parsePeerEndpoint, peerName } from '../../api/endpoint.js';
import { withLock } from '../../state/lock.js';
import { isMachineId, isRefused, repin } from '../../state/peers.js';
import { readTunnels } from '../../state/tunnels.js';
import { withSystemd } from '../../systemd/systemd.js';
import { readUnitFile, writeUnitFile } from '../../systemd/unit-files.js';
import { writeTunnelUnit } from '../../tunnels/unit.js';
import { changeUnit } from '../../units/digest.js';
import { socketUnit } from '../../units/names.js';
import { rekeyUnits } from '../../units/tunnel.js';
import { findPeer, NoSuchPeer, type Peer } from './peers.js';

/**
 * Has another machine take the place of one that is known here, because it was reinstalled, for example: its names, its tunnels, and its
 * parts of links belong to that from now on.
 *
 * @param machine the name or the id of the machine, or a name that is new
 * @param id that of the machine in its place
 * @throws NoSuchPeer, InvalidEndpoint; Error for what is no id, and for a machine that is refused or has a tunnel already
 */
export async function acceptPeer(machine: string, id: string): Promise<void> {
  if (!isMachineId(id))
    throw new Error(`"${id}" is not the id of a machine, 32 hexadecimal digits, as wormhole ping prints it`);
  if (isRefused(id)) throw new Error(`machine ${id} is refused here: wormhole peers allow ${id}`);
  const peer = findOrNew(machine);
  const rival = readTunnels().tunnels.find((tunnel) => tunnel.machine === id);
  if (rival && peer.id !== id && peer.tunnels.length > 0)
    throw new Error(`there is a tunnel with that machine already: wormhole tunnel-delete ${rival.peer}`);
  await withLock('tunnels', async () => {
    for (const tunnel of peer.tunnels) await writeTunnelUnit({ ...tunnel, machine: id });
  });
  await withLock('links', async () => {
    for (const part of peer.parts) changeOwner(part.id, id);
  });
  // Last: with a full disk, the names would lead to a machine that the tunnels and the parts do not belong to.
  for (const name of peer.names) repin(name, id);
  if (peer.tunnels.length === 0 && peer.parts.length === 0) return;
  await withSystemd(async (systemd) => {
    await systemd.reloadAll();
    // What is wrong with it appears in the journal, and in tunnel-list.
    for (const tunnel of peer.tunnels) await systemd.queue(rekeyUnits(tunnel.peer).service);
  });
}

/** A machine that has not answered to that name yet may be accepted beforehand. */
function findOrNew(machine: string): Peer {
  try {
    return findPeer(machine);
  } catch (error) {
    if (!(error instanceof NoSuchPeer)) throw error;
    const endpoint = parsePeerEndpoint(machine);
    if (endpoint.kind !== 'tcp') throw error;
    const names = [peerName(endpoint)];
    return { id: undefined, names, links: [], parts: [], tunnels: [], refused: false };
  }
}

function changeOwner(partId: string, id: string): void {
  const unit = socketUnit(partId);
  const text = readUnitFile(unit);
  if (text === undefined) return;
  const change = (before: string) => before.replace(/^OwnerIdentity=.*$/m, `OwnerIdentity=${id}`);
  writeUnitFile(unit, changeUnit(text, change));
}
