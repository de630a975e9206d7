import { isDeepStrictEqual } from 'node:util';
import { connectSystemd, type Systemd } from '../../systemd/systemd.js';
import { linkUnitFile, readUnitFile, removeUnitFiles, writeUnitFile } from '../../systemd/unit-files.js';
import { rekeyUnits, renderTunnel, type Tunnel, tunnelUnit } from '../../units/tunnel.js';
import { installation, tunnelTemplate } from '../installation.js';
import { withLock } from '../lock.js';
import { forgetUp, nowUp } from './marks.js';
import { end } from './raise.js';
import { readTunnels } from './tunnels.js';

/**
 * Writes the unit file of a tunnel, unless there is one that tells the same, and enables it. Only with the lock `tunnels` held.
 */
export function writeTunnel(tunnel: Tunnel): void {
  const unit = tunnelUnit(tunnel.peer);
  linkUnitFile(unit);
  if (readTunnels().tunnels.some((known) => isDeepStrictEqual(known, tunnel))) return;
  writeUnitFile(unit, renderTunnel(tunnel, installation(), tunnelTemplate()).text);
}

/**
 * Has the unit of a tunnel, which is up, be active. Not to be called by that unit, which would
 * wait for itself, nor with a lock held that the unit takes.
 *
 * @param wait whether to wait until it is; what goes wrong is in the unit's journal alone otherwise, and it tries again by
 *   itself
 * @throws JobError
 */
export async function startTunnel(tunnel: Tunnel, wait: boolean): Promise<void> {
  const unit = tunnelUnit(tunnel.peer);
  const systemd = await connectSystemd();
  try {
    const { load, active, needReload } = await systemd.state(unit);
    if (load !== 'loaded' || needReload) await systemd.reloadAll();
    // One that is running is finding out already.
    if (active === 'inactive' || active === 'failed') nowUp(tunnel);
    await (wait ? systemd.start(unit) : systemd.queue(unit));
  } catch (error) {
    forgetUp(tunnel);
    throw error;
  } finally {
    systemd.close();
  }
}

/**
 * Takes a tunnel away on this machine: its unit file first, so that whatever is left when this is killed belongs to no
 * tunnel, and the next command takes it away. What runs in its units is ended last: that may be the caller.
 *
 * @throws JobError, IpError
 */
export async function removeTunnel(tunnel: Tunnel): Promise<void> {
  const unit = tunnelUnit(tunnel.peer);
  const systemd = await connectSystemd();
  try {
    await withLock('tunnels', async () => {
      if (readUnitFile(unit) !== undefined) await systemd.disable([unit]);
      removeUnitFiles([unit]);
      await end(tunnel);
    });
    await forget(unit, tunnel, systemd);
  } finally {
    systemd.close();
  }
}

/**
 * Stops the units of tunnels that have no unit file any more, which a killed command has left running: they do nothing, but
 * are told to be active.
 *
 * @throws JobError
 */
export async function stopStrays(): Promise<void> {
  const systemd = await connectSystemd();
  try {
    const known = new Set(
      readTunnels().tunnels.flatMap(({ peer }) => [tunnelUnit(peer), ...rekeyUnits(peer)]),
    );
    const loaded = await systemd.loaded(['wormhole-tunnel@*', 'wormhole-tunnel-rekey@*']);
    for (const unit of loaded.filter((one) => !known.has(one) && readUnitFile(one) === undefined)) {
      await systemd.stop(unit);
      await systemd.resetFailed(unit);
    }
  } finally {
    systemd.close();
  }
}

async function forget(unit: string, tunnel: Tunnel, systemd: Systemd): Promise<void> {
  const [timer, rekey] = rekeyUnits(tunnel.peer);
  forgetUp(tunnel);
  await systemd.reloadAll();
  for (const one of [timer, unit, rekey]) {
    await systemd.stop(one);
    await systemd.resetFailed(one);
  }
}
