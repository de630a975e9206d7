import { rmSync } from 'node:fs';
import { removeRun } from '../docker/remove-run.js';
import type { Systemd } from '../systemd/systemd.js';
import { readUnitFile, removeUnitFiles } from '../systemd/unit-files.js';
import { givenUpFile, runUnit, serviceUnit, socketUnit } from '../units/names.js';
import { requireEngine } from './engine.js';
import { removeFarFile } from './far-file.js';

/**
 * Takes away all that links are made of, in whatever state they are: stops their units, removes their containers,
 * symlinks and files, and has systemd forget them. What is not there is fine.
 *
 * @param ids the links, those that hang on others first
 * @throws JobError when systemd cannot stop a unit; EngineDown, before anything is done, when there are containers to
 *   remove and no engine
 */
export async function takeAway(ids: string[], systemd: Systemd): Promise<void> {
  const exists = (unit: string) => readUnitFile(unit) !== undefined;
  const runs = ids.flatMap((id) => [id, `${id}-head`]).filter((name) => exists(runUnit(name)));
  if (runs.length > 0) await requireEngine();

  // The heads first: no client is to start again what is being taken away.
  const ends = ids.flatMap((id) => [socketUnit(id), serviceUnit(id)]);
  for (const unit of ends) await systemd.stop(unit);
  // Removed before their units are stopped, which would only take the time to end them gracefully.
  for (const name of runs) await removeRun(name);
  for (const name of runs) {
    await systemd.stop(runUnit(name));
    await systemd.stop(`wormhole-netns@run:${name}.service`);
    await removeRun(name);
    rmSync(givenUpFile(name), { force: true });
  }
  for (const id of ids) removeFarFile(id);

  const units = [...ends, ...runs.map(runUnit)];
  // A unit without a file has no symlinks either: they are made after it and removed before it.
  await systemd.disable(units.filter(exists));
  // The socket's file holds the recipe: it goes last, so that a link is known for as long as anything of it is there.
  removeUnitFiles(units.toReversed());
  for (const unit of units) await systemd.resetFailed(unit);
  // What another unit in memory refers to, such as sockets.target by the symlink, stays there until a reload.
  if ((await systemd.loaded(units)).length > 0) await systemd.reloadAll();
}
