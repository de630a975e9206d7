import { isDeepStrictEqual } from 'node:util';
import { installation, tunnelTemplate } from '../state/installation.js';
import { withLock } from '../state/lock.js';
import { releaseGuard, retainedGuards, retainGuard } from '../state/retained-guards.js';
import { readTunnels } from '../state/tunnels.js';
import { removeDropIn } from '../systemd/drop-ins.js';
import { type LoadedUnit, type Systemd, withSystemd } from '../systemd/systemd.js';
import {
  linkTunnelUnit,
  readUnitFile,
  removeUnitFiles,
  unlinkUnitFiles,
  writeUnitFile,
} from '../systemd/unit-files.js';
import { DROP_IN } from '../units/declared-drop-ins.js';
import { rekeyUnits, renderTunnel, type Tunnel, tunnelUnit } from '../units/tunnel.js';
import { tearDown } from './kernel.js';
import { disconnectLinks, linksThrough } from './links-through.js';
import { forgetUp, recordUp } from './negotiation.js';
import { forgetProblem } from './problems.js';

/**
 * Writes the unit file of a tunnel, unless one says the same already, and enables it. Call it only with the lock `tunnels`
 * held.
 */
export async function writeTunnelUnit(tunnel: Tunnel): Promise<void> {
  const template = await tunnelTemplate();
  const unit = tunnelUnit(tunnel.peer);
  linkTunnelUnit(unit);
  if (readTunnels().tunnels.some((known) => isDeepStrictEqual(known, tunnel))) return;
  writeUnitFile(unit, renderTunnel(tunnel, installation(), template).text);
  // Its own guard takes the place of those of earlier tunnels with the machine.
  for (const { id, machine } of retainedGuards()) if (machine === tunnel.machine) releaseGuard(id);
}

/**
 * Starts the unit of a tunnel that is up. That unit must not call this, since it would wait for itself, nor a caller that
 * holds a lock which the unit takes.
 *
 * With `wait`, waits until the unit is active. Otherwise a failure appears only in the unit's journal; the unit tries again by
 * itself.
 *
 * @throws JobError
 */
export function startTunnelUnit(tunnel: Tunnel, { wait }: { wait: boolean }): Promise<void> {
  const unit = tunnelUnit(tunnel.peer);
  return withSystemd(async (systemd) => {
    try {
      const { load, active, needReload } = await systemd.state(unit);
      if (load !== 'loaded' || needReload) await systemd.reloadAll();
      // One that is starting finds out already.
      if (active === 'inactive' || active === 'failed') recordUp(tunnel);
      await (wait ? systemd.start(unit) : systemd.queue(unit));
    } catch (error) {
      forgetUp(tunnel);
      throw error;
    }
  });
}

/**
 * Removes a tunnel from this machine: its unit file first, so that what is left when this process is killed belongs to no
 * tunnel, and the next command removes it. Its units are stopped last: one of them may be the caller.
 *
 * Links through it are disconnected before, and the policies that block clear text stay as long as there is one.
 *
 * @param reason why, for the users of those links
 * @throws JobError, IpError
 */
export function removeTunnel(tunnel: Tunnel, reason: string): Promise<void> {
  const unit = tunnelUnit(tunnel.peer);
  return withSystemd(async (systemd) => {
    const users = await linksThrough(tunnel);
    if (users.length > 0) {
      const { id, machine, inner } = tunnel;
      retainGuard({ id, machine, inner, links: users.map((user) => user.id) });
    }
    await disconnectLinks(users, reason, systemd);
    await withLock('tunnels', async () => {
      unlinkUnitFiles([unit]);
      removeDropIn(unit, DROP_IN);
      removeUnitFiles([unit]);
      await tearDown(tunnel);
    });
    await unloadUnits(tunnel, systemd);
  });
}

/**
 * Stops and unloads the units of tunnels that have no unit file any more, which a killed command has left: they do nothing.
 *
 * @throws JobError
 */
export function stopStrayUnits(): Promise<void> {
  return withSystemd(async (systemd) => {
    // The rekey units of a tunnel whose unit cannot be read look as if they belonged to none.
    if (readTunnels().unreadable.length > 0) return;
    const isStray = (unit: string) => readUnitFile(unit) === undefined && !unitsOfTunnels().includes(unit);
    const loaded = await systemd.loaded(['wormhole-tunnel@*', 'wormhole-tunnel-rekey@*']);
    // One that only others name, such as an After= of theirs, is in memory without a file, and inactive.
    const isNamedOnly = ({ load, active }: LoadedUnit) => load === 'not-found' && active === 'inactive';
    const stray = [...loaded].flatMap(([unit, state]) => (isStray(unit) && !isNamedOnly(state) ? unit : []));
    // The killed command may not have told systemd, for which multi-user.target wants the tunnel's unit until then.
    if (stray.length > 0) await systemd.reloadAll();
    for (const unit of stray) {
      // Looked at again for each unit: another machine may have created a tunnel meanwhile.
      if (!isStray(unit)) continue;
      await systemd.stop(unit);
      await systemd.resetFailed(unit);
    }
  });
}

function unitsOfTunnels(): string[] {
  return readTunnels().tunnels.flatMap(({ peer }) => [tunnelUnit(peer), ...Object.values(rekeyUnits(peer))]);
}

async function unloadUnits(tunnel: Tunnel, systemd: Systemd): Promise<void> {
  const own = tunnelUnit(tunnel.peer);
  const { timer, service } = rekeyUnits(tunnel.peer);
  forgetUp(tunnel);
  forgetProblem(tunnel);
  await systemd.reloadAll();
  for (const unit of [timer, own, service]) {
    // The other machine may have asked for a tunnel again meanwhile, whose units have the same names.
    if (readUnitFile(own) !== undefined) return;
    await systemd.stop(unit);
    await systemd.resetFailed(unit);
  }
}
