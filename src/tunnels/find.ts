import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { parsePeerEndpoint, peerName } from '../api/endpoint.js';
import { pinnedId } from '../state/peers.js';
import { readTunnels } from '../state/tunnels.js';
import { type Tunnel, tunnelUnit } from '../units/tunnel.js';

/** There is no tunnel to that machine. */
export class NoSuchTunnel extends Error {
  constructor(peer: string) {
    super(`no tunnel to "${peer}": see wormhole tunnel-list`);
  }
}

/**
 * Finds the tunnel to a machine: by the name that it has here, by its address, or by another name of that address.
 *
 * @throws InvalidEndpoint when `peer` cannot be a machine
 */
export async function findTunnel(peer: string): Promise<Tunnel | undefined> {
  const { tunnels } = readTunnels();
  const named = findByUnit(peer, tunnels);
  const endpoint = parsePeerEndpoint(peer);
  if (named || endpoint.kind === 'unix') return named;
  // A machine says itself at which address it is reached, which may be that of another one: who it is counts if that is known.
  const machine = pinnedId(peerName(endpoint));
  if (machine !== undefined) return tunnels.find((tunnel) => tunnel.machine === machine);
  const addresses =
    isIP(endpoint.host) === 0
      ? (await lookup(endpoint.host, { all: true }).catch(() => [])).map((found) => found.address)
      : [endpoint.host];
  return tunnels.find(({ outer }) => addresses.includes(outer.remote));
}

/** The id of the machine with which the tunnel was created that is called `peer` here; undefined when there is none. */
export function machineOfTunnel(peer: string): string | undefined {
  return findByUnit(peer, readTunnels().tunnels)?.machine;
}

/** The tunnel whose unit names the machine so. @throws NoSuchTunnel */
export function tunnelOfUnit(peer: string): Tunnel {
  const tunnel = findByUnit(peer, readTunnels().tunnels);
  if (!tunnel) throw new NoSuchTunnel(peer);
  return tunnel;
}

function findByUnit(peer: string, tunnels: Tunnel[]): Tunnel | undefined {
  return tunnels.find((tunnel) => tunnelUnit(tunnel.peer) === tunnelUnit(peer));
}
