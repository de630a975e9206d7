import { readUnitFile, unitFileNames } from '../systemd/unit-files.js';
import { isTunnelUnit, readTunnel, type Tunnel, UnreadableTunnel } from '../units/tunnel.js';

/** The tunnels of this machine, and the units of those that somebody has edited so that they cannot be read. */
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
