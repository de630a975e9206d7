import { associationsOf, type KernelInterface, type KernelState, readKernel } from '../../ipsec/kernel.js';
import { tunnelNumber } from '../../ipsec/names.js';
import type { Tunnel, TunnelMode } from '../../units/tunnel.js';
import { isTunnels, openDebts } from '../owed.js';
import { mendTunnels } from './mend.js';
import { readTunnels } from './tunnels.js';

/** Bytes and packets since the tunnel has been up, those of the packets inside it. */
export type Traffic = KernelInterface['received'];

/**
 * A tunnel as `wormhole tunnel-list` tells it. `state` is `up`, `down` when this machine has no keys for it, and lets
 * nothing through, or `leaving` when it is deleted, and the other machine cannot be told yet. `keyAge` is in seconds,
 * `lastRekey` a time as ISO 8601 has it, both null when there are no keys.
 */
export interface ListedTunnel {
  id: string;
  peer: string;
  mode: TunnelMode;
  local: string;
  remote: string;
  address: string;
  peerAddress: string;
  state: 'up' | 'down' | 'leaving';
  keyAge: number | null;
  lastRekey: string | null;
  received: Traffic;
  sent: Traffic;
}

/** What `wormhole tunnel-list` prints: the tunnels, and the units that cannot be read, with the reason. */
export interface TunnelListing {
  tunnels: ListedTunnel[];
  unreadable: { unit: string; reason: string }[];
}

/** Lists the tunnels of this machine, after seeing to what killed commands have left. @throws IpError */
export async function listTunnels(): Promise<TunnelListing> {
  await mendTunnels();
  const { tunnels, unreadable } = readTunnels();
  const kernel = await readKernel();
  const leaving = openDebts()
    .filter(isTunnels)
    .map(({ tunnel }) => tunnel)
    .filter(({ id }) => tunnels.every((tunnel) => tunnel.id !== id));
  return {
    tunnels: [
      ...tunnels.map((tunnel) => describe(tunnel, kernel)),
      ...leaving.map((tunnel) => ({ ...describe(tunnel, kernel), state: 'leaving' as const })),
    ],
    unreadable,
  };
}

function describe(tunnel: Tunnel, kernel: KernelState): ListedTunnel {
  const { id, peer, mode, local, remote, me, peerAddress } = tunnel;
  const number = tunnelNumber(id);
  const found = kernel.interfaces.find((candidate) => candidate.number === number);
  const keys = associationsOf(kernel, number, { me, peer: peerAddress });
  const added = keys.in[0]?.added;
  const up = found?.up === true && keys.in.length > 0 && keys.out.length > 0;
  const none = { bytes: 0, packets: 0 };
  return {
    ...{ id, peer, mode, local, remote, address: me, peerAddress },
    state: up ? 'up' : 'down',
    keyAge: added === undefined ? null : Math.max(0, Math.round((Date.now() - added) / 1000)),
    lastRekey: added === undefined ? null : new Date(added).toISOString(),
    received: found?.received ?? none,
    sent: found?.sent ?? none,
  };
}
