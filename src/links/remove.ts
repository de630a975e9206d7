import { rmSync } from 'node:fs';
import { removeRun } from '../docker/remove-run.js';
import { runName } from '../recipe/link.js';
import { removeCounters } from '../state/counters.js';
import type { Systemd } from '../systemd/systemd.js';
import { readUnitFile, removeUnitFiles, unlinkUnitFiles } from '../systemd/unit-files.js';
import { givenUpFile, netnsUnit, runUnit, serviceUnit, socketUnit } from '../units/names.js';
import { requireEngine } from './containers/require-engine.js';
import { removeFarAddress } from './remote/far-address.js';

/**
 * Removes all that links consist of, in whatever state they are. What does not exist is fine.
 *
 * @throws as {@link removeUnits}
 */
export async function remove(ids: string[], systemd: Systemd): Promise<void> {
  await forgetUnits(await removeUnits(ids, systemd), systemd);
}

/**
 * Stops the units of links, and removes their containers, symlinks and files. systemd may have the units in memory afterwards,
 * until {@link forgetUnits}.
 *
 * @param ids the links of one family, children before their parents
 * @returns the units
 * @throws JobError when systemd cannot stop a unit; EngineDown, before anything is done, when there are containers to
 *   remove and no engine
 */
export async function removeUnits(ids: string[], systemd: Systemd): Promise<string[]> {
  const runs = ids
    .flatMap((id) => [runName(id, 'tail'), runName(id, 'head')])
    .filter((name) => readUnitFile(runUnit(name)) !== undefined);
  if (runs.length > 0) await requireEngine();

  // The heads first, so that no client starts again what is being removed.
  const heads = ids.map(socketUnit);
  const forwarders = ids.map(serviceUnit);
  await Promise.all(heads.map(systemd.stop));
  await Promise.all(forwarders.map(systemd.stop));
  // Containers go before their units are stopped: that would only take the time to end them gracefully.
  for (const name of runs) await removeRun(name);
  for (const name of runs) {
    await systemd.stop(runUnit(name));
    await systemd.stop(netnsUnit({ kind: 'run', name }) ?? '');
    await removeRun(name);
    rmSync(givenUpFile(name), { force: true });
  }
  for (const id of ids) {
    removeFarAddress(id);
    removeCounters(id);
  }

  // The socket's file holds the recipe. It goes last, so that a link is known while anything of it exists.
  const units = [...runs.map(runUnit), ...forwarders, ...heads];
  unlinkUnitFiles(units);
  removeUnitFiles(units);
  return units;
}

/** Makes systemd forget units that have been removed, with at most one reload for all of them. */
export async function forgetUnits(units: string[], systemd: Systemd): Promise<void> {
  await Promise.all(units.map(systemd.resetFailed));
  // A unit that another loaded unit refers to, such as sockets.target by the symlink, stays in memory until a reload.
  if ((await systemd.loaded(units)).size > 0) await systemd.beginReload();
}
