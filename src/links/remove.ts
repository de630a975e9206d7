import { rmSync } from 'node:fs';
import { removeRun } from '../docker/remove-run.js';
import type { RunNames } from '../docker/runs.js';
import { runName } from '../recipe/link.js';
import { readLinks } from '../state/links.js';
import type { Systemd } from '../systemd/systemd.js';
import { readUnitFile, removeUnitFiles } from '../systemd/unit-files.js';
import { linkDirectory, netnsUnit, runUnit, serviceUnit, socketUnit } from '../units/names.js';
import { requireEngine } from './containers/require-engine.js';
import { runsIn } from './containers/runs.js';

/**
 * Removes all that links consist of, in whatever state they are: stops their units, removes their containers, symlinks and
 * files, and unloads them from systemd. What does not exist is fine.
 *
 * @param ids the links, children before their parents
 * @returns what stays although it has the labels of these links, a line each, for people
 * @throws JobError when systemd cannot stop a unit; EngineDown, before anything is done, when there are containers to
 *   remove and no engine
 */
export async function remove(ids: string[], systemd: Systemd): Promise<string[]> {
  const exists = (unit: string) => readUnitFile(unit) !== undefined;
  const runs = runsOf(ids).filter(({ name }) => exists(runUnit(name)));
  if (runs.length > 0) await requireEngine();

  // The heads first, so that no client starts again what is being removed.
  const ends = ids.flatMap((id) => [socketUnit(id), serviceUnit(id)]);
  for (const unit of ends) await systemd.stop(unit);
  // Containers go before their units are stopped: that would only take the time to end them gracefully.
  for (const run of runs) await removeRun(run);
  const left: string[] = [];
  for (const run of runs) {
    const { name, link } = run;
    await systemd.stop(runUnit(name));
    const namespace = netnsUnit({ kind: 'run', name }) ?? '';
    await systemd.stop(namespace);
    // It has if it was killed while it followed a holder that somebody had removed.
    await systemd.resetFailed(namespace);
    left.push(...(await removeRun(run)).map((container) => describeLabelled(container, link)));
  }
  for (const name of [...ids, ...runs.map((run) => run.name)])
    rmSync(linkDirectory(name), { recursive: true, force: true });

  const units = [...ends, ...runs.map(({ name }) => runUnit(name))];
  // A unit without a file has no symlinks either: they are created after it and removed before it.
  await systemd.disable(units.filter(exists));
  // The socket's file holds the recipe. It goes last, so that a link is known while anything of it exists.
  removeUnitFiles(units.toReversed());
  for (const unit of units) await systemd.resetFailed(unit);
  // A unit that another loaded unit refers to, such as sockets.target by the symlink, stays loaded until a reload.
  if ((await systemd.loaded(units)).length > 0) await systemd.reloadAll();
  return left;
}

/** The runs that links may have. Of a link that cannot be read, what --name said is unknown. */
function runsOf(ids: string[]): RunNames[] {
  const known = runsIn(readLinks().links);
  const names = ids.flatMap((link) =>
    [runName(link, 'tail'), runName(link, 'head')].map((name) => ({ name, link })),
  );
  return names.map((run) => {
    const place = known.find(({ name }) => name === run.name)?.place;
    const said = place?.kind === 'run' ? place.request.name : undefined;
    return { ...run, ...(said !== undefined && { said }) };
  });
}

function describeLabelled(container: string, link: string): string {
  return `container "${container}" has the labels of link "${link}", and is none of its containers: it stays; docker rm -f ${container} removes it`;
}
