import { rmSync } from 'node:fs';
import { removeRun } from '../docker/remove-run.js';
import { runName } from '../recipe/link.js';
import { removeFarAddress } from '../state/far-address.js';
import type { Systemd } from '../systemd/systemd.js';
import { foreignUnit, readUnitFile, removeUnitFiles } from '../systemd/unit-files.js';
import { givenUpFile, netnsUnit, runUnit, serviceUnit, socketUnit } from '../units/names.js';
import { requireEngine } from './containers/require-engine.js';

/**
 * Removes all that links consist of, in whatever state they are: stops their units, removes their containers, symlinks and
 * files, and unloads them from systemd. What does not exist is fine, and units that are not Wormhole's are left alone.
 *
 * @param ids the links, children before their parents
 * @throws JobError when systemd cannot stop a unit; EngineDown, before anything is done, when there are containers to
 *   remove and no engine
 */
export async function remove(ids: string[], systemd: Systemd): Promise<void> {
  const isOurs = (unit: string) => foreignUnit(unit) === undefined;
  const exists = (unit: string) => readUnitFile(unit) !== undefined && isOurs(unit);
  const runs = ids
    .flatMap((id) => [runName(id, 'tail'), runName(id, 'head')])
    .filter((name) => exists(runUnit(name)));
  if (runs.length > 0) await requireEngine();

  // The heads first, so that no client starts again what is being removed.
  const ends = ids.flatMap((id) => [socketUnit(id), serviceUnit(id)]).filter(isOurs);
  for (const unit of ends) await systemd.stop(unit);
  // Containers go before their units are stopped: that would only take the time to end them gracefully.
  for (const name of runs) await removeRun(name);
  for (const name of runs) {
    await systemd.stop(runUnit(name));
    await systemd.stop(netnsUnit({ kind: 'run', name }) ?? '');
    await removeRun(name);
    rmSync(givenUpFile(name), { force: true });
  }
  for (const id of ids) removeFarAddress(id);

  const units = [...ends, ...runs.map(runUnit)];
  // A unit without a file has no symlinks either: they are created after it and removed before it.
  await systemd.disable(units.filter(exists));
  // The socket's file holds the recipe. It goes last, so that a link is known while anything of it exists.
  removeUnitFiles(units.toReversed());
  for (const unit of units) await systemd.resetFailed(unit);
  // A unit that another loaded unit refers to, such as sockets.target by the symlink, stays loaded until a reload.
  if ((await systemd.loaded(units)).length > 0) await systemd.reloadAll();
}
