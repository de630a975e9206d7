import type { ListedTunnel, TunnelListing } from '../api/tunnel-schema.js';
import { associationsOf, type KernelState, readKernel } from '../ipsec/kernel.js';
import { tunnelNumber } from '../ipsec/names.js';
import { releasedDeletions } from '../state/pending-deletions.js';
import { readTunnels } from '../state/tunnels.js';
import type { Tunnel } from '../units/tunnel.js';
import { problemOf } from './problems.js';
import { repairTunnels } from './repair.js';

/** Lists the tunnels of this machine, after a repair of what killed commands have left. @throws IpError */
export async function listTunnels(): Promise<TunnelListing> {
  await repairTunnels();
  return describeTunnels();
}

/** The tunnels of this machine as they are, without a repair. @throws IpError */
export async function describeTunnels(): Promise<TunnelListing> {
  const { tunnels, unreadable } = readTunnels();
  const kernel = await readKernel();
  const leaving = releasedDeletions()
    .flatMap((deletion) => (deletion.kind === 'tunnel' ? deletion.tunnel : []))
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
  const { id, peer, mode, inner, outer } = tunnel;
  const number = tunnelNumber(id);
  const found = kernel.interfaces.find((candidate) => candidate.number === number);
  const keys = associationsOf(kernel, number, outer);
  const added = keys.in[0]?.added;
  const up = found?.up === true && keys.in.length > 0 && keys.out.length > 0;
  const none = { bytes: 0, packets: 0 };
  return {
    id,
    peer,
    mode,
    local: inner.local,
    remote: inner.remote,
    address: outer.local,
    peerAddress: outer.remote,
    state: up ? 'up' : 'down',
    detail: problemOf(tunnel) ?? '',
    keyAge: added === undefined ? null : Math.max(0, Math.round((Date.now() - added) / 1000)),
    lastRekey: added === undefined ? null : new Date(added).toISOString(),
    received: found?.received ?? none,
    sent: found?.sent ?? none,
    associations: { in: keys.in.length, out: keys.out.length },
    errors: keys.in[0]?.errors ?? { replay: 0, window: 0, authentication: 0 },
  };
}
