import type { Systemd } from '../systemd/systemd.js';
import { readUnitFile, removeUnitFiles } from '../systemd/unit-files.js';
import { serviceUnit, socketUnit } from '../units/names.js';

/**
 * Takes away all that links are made of, in whatever state they are: stops their units, removes symlinks and files,
 * and has systemd forget them. What is not there is fine.
 *
 * @param ids the links, those that hang on others first
 * @throws JobError when systemd cannot stop a unit
 */
export async function takeAway(ids: string[], systemd: Systemd): Promise<void> {
  const units = ids.flatMap((id) => [socketUnit(id), serviceUnit(id)]);
  for (const unit of units) await systemd.stop(unit);
  // A unit without a file has no symlinks either: they are made after it and removed before it.
  await systemd.disable(units.filter((unit) => readUnitFile(unit) !== undefined));
  // The socket's file holds the recipe: it goes last, so that a link is known for as long as anything of it is there.
  removeUnitFiles(units.toReversed());
  for (const unit of units) await systemd.resetFailed(unit);
  // What another unit in memory refers to, such as sockets.target by the symlink, stays there until a reload.
  if ((await systemd.loaded(units)).length > 0) await systemd.reload();
}
