import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { readUnitFile, unitFileNames } from '../../systemd/unit-files.js';
import { isTunnelUnit, readTunnel, type Tunnel, tunnelUnit, UnreadableTunnel } from '../../units/tunnel.js';
import { parseMachine } from '../api/address.js';

/** The tunnels of this machine, and the units of those that somebody has edited beyond reading. */
export interface Tunnels {
  tunnels: Tunnel[];
  unreadable: { unit: string; reason: string }[];
}

/** Reads all tunnels from their units. */
export function readTunnels(): Tunnels {
  const found: Tunnels = { tunnels: [], unreadable: [] };
  for (const unit of unitFileNames('wormhole-tunnel@').filter(isTunnelUnit)) {
    try {
      found.tunnels.push(readTunnel(readUnitFile(unit) ?? ''));
    } catch (error) {
      if (!(error instanceof UnreadableTunnel)) throw error;
      found.unreadable.push({ unit, reason: error.message });
    }
  }
  return found;
}

/**
 * Finds the tunnel to a machine: by the name that it has here, by its address, or by another name of that address.
 *
 * @throws NoAddress when `peer` is no machine
 */
export async function tunnelFor(peer: string): Promise<Tunnel | undefined> {
  const { tunnels } = readTunnels();
  const named = tunnels.find((tunnel) => tunnelUnit(tunnel.peer) === tunnelUnit(peer));
  const address = parseMachine(peer);
  if (named || address.kind === 'unix') return named;
  const addresses =
    isIP(address.host) === 0
      ? (await lookup(address.host, { all: true }).catch(() => [])).map((found) => found.address)
      : [address.host];
  return tunnels.find(({ peerAddress }) => addresses.includes(peerAddress));
}
