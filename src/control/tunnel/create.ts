import type { Tunnel, TunnelMode } from '../../units/tunnel.js';
import { askForTunnel } from './ask.js';
import { installedSettings } from './settings.js';
import { startTunnel } from './unit.js';

/**
 * Makes a tunnel to a machine, or makes sure that the one there is works on both sides: what the other machine has
 * forgotten, or lost, it gets anew, with the same addresses.
 *
 * @param peer a name or an address, with a port or without
 * @returns the tunnel; one that is there already may have another name for the machine
 * @throws as askForTunnel; JobError
 */
export async function ensureTunnel(peer: string, mode: TunnelMode, keyFile: string): Promise<Tunnel> {
  const wanted = { peer, keyFile, mode, asked: true, fresh: false };
  const tunnel = await askForTunnel(wanted, installedSettings());
  await startTunnel(tunnel, true);
  return tunnel;
}
