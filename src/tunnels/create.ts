import type { Tunnel, TunnelMode } from '../units/tunnel.js';
import { negotiateTunnel } from './initiate.js';
import { installedSettings } from './settings.js';
import { startTunnelUnit } from './unit.js';

/**
 * Creates a tunnel to a machine, or makes sure that an existing one works on both sides: what the other machine has forgotten
 * or lost, it gets again, with the same addresses.
 *
 * @param peer a name or an address, with a port or without
 * @returns the tunnel; an existing one may have another name for the machine
 * @throws as negotiateTunnel; JobError
 */
export async function ensureTunnel(peer: string, mode: TunnelMode, keyFile: string): Promise<Tunnel> {
  const tunnel = await negotiateTunnel(
    { peer, keyFile, mode, asked: true, fresh: false },
    installedSettings(),
  );
  await startTunnelUnit(tunnel, { wait: true });
  return tunnel;
}
