import { rmSync } from 'node:fs';
import { removeRun } from '../docker/remove-run.js';
import type { RunNames } from '../docker/runs.js';
import { runName } from '../recipe/link.js';
import { forgetKeptContainer } from '../state/kept-containers.js';
import { readLinks } from '../state/links.js';
import { removeCounters } from '../state/traffic.js';
import { removeDropIn } from '../systemd/drop-ins.js';
import type { Systemd } from '../systemd/systemd.js';
import { foreignUnit, readUnitFile, removeUnitFiles, unlinkUnitFiles } from '../systemd/unit-files.js';
import { DROP_IN } from '../units/declared-drop-ins.js';
import {
  handOffDirectory,
  linkDirectory,
  nameUnits,
  netnsUnit,
  runUnit,
  serviceUnit,
  socketUnit,
  startFailureUnit,
} from '../units/names.js';
import { requireEngine } from './containers/require-engine.js';
import { runsIn } from './containers/runs.js';
import { stopUnneededNamespace } from './containers/unneeded-namespace.js';
import { existingServices, releaseService, serviceOfRun } from './units/existing.js';
import { loadedOf } from './units/loaded.js';

/**
 * Removes all that links consist of, in whatever state they are. What does not exist is fine, and units that are not Wormhole's
 * are left alone.
 *
 * @throws as {@link removeUnits}
 */
export async function remove(ids: string[], systemd: Systemd): Promise<void> {
  await forgetUnits(await removeUnits(ids, systemd), systemd);
}

/** Units that have been removed, and those of the namespaces that they needed. */
export interface RemovedUnits {
  units: string[];
  namespaces: string[];
}

/** What has been removed, and what has not. */
interface Removed extends RemovedUnits {
  /** The containers that stay although they have the labels of the links, with a line each for people. */
  left: { container: string; line: string }[];
}

/**
 * Stops the units of links, and removes their containers, symlinks and files. systemd may have the units in memory afterwards,
 * until {@link forgetUnits}.
 *
 * @param ids the links of one family, children before their parents
 * @throws JobError when systemd cannot stop a unit; EngineDown, before anything is done, when there are containers to
 *   remove and no engine
 */
export async function removeUnits(ids: string[], systemd: Systemd): Promise<Removed> {
  const isOurs = (unit: string) => foreignUnit(unit) === undefined;
  const runs = existingRuns(ids).filter(({ name }) => isOurs(runUnit(name)));
  if (runs.length > 0) await requireEngine();
  const services = existingServices(ids).filter(({ name }) => isOurs(runUnit(name)));

  // The heads first, so that no client starts again what is being removed.
  const heads = ids.map(socketUnit).filter(isOurs);
  const forwarders = ids.map(serviceUnit).filter(isOurs);
  await Promise.all(heads.map(systemd.stop));
  await Promise.all(forwarders.map(systemd.stop));
  await Promise.all(ids.map(startFailureUnit).map(systemd.resetFailed));
  // Forwarders take them along, in a moment.
  const names = ids
    .map(nameUnits)
    .flatMap(({ socket, service }) => [service, socket])
    .filter((unit) => readUnitFile(unit) !== undefined && isOurs(unit));
  for (const unit of names) await systemd.stop(unit);
  for (const service of services) await releaseService(service, systemd);
  // Containers go before their units are stopped: that would only take the time to end them gracefully.
  for (const run of runs) await removeRun(run);
  const left: Removed['left'] = [];
  for (const run of runs) {
    const { name, link } = run;
    await systemd.stop(runUnit(name));
    const namespace = netnsUnit({ kind: 'run', name }) ?? '';
    await systemd.stop(namespace);
    // It has if it was killed while it followed a holder that somebody had removed.
    await systemd.resetFailed(namespace);
    left.push(
      ...(await removeRun(run)).map((container) => ({ container, line: describeLabelled(container, link) })),
    );
  }
  for (const name of [...ids, ...runs.map((run) => run.name)])
    rmSync(linkDirectory(name), { recursive: true, force: true });
  await removeCounters(ids);
  for (const id of ids) rmSync(handOffDirectory(id), { recursive: true, force: true });
  for (const { name } of runs) forgetKeptContainer(name);

  // The socket's file holds the recipe. It goes last, so that a link is known while anything of it exists.
  const started = [...runs, ...services].map(({ name }) => runUnit(name));
  const units = [...started, ...names, ...forwarders, ...heads];
  const namespaces = namespacesOf(units);
  unlinkUnitFiles(units);
  for (const unit of units) removeDropIn(unit, DROP_IN);
  removeUnitFiles(units);
  return { units: unitsOf(ids).filter(isOurs), namespaces, left };
}

/** All units that links may have: a removal that was killed has left some in memory whose files are gone. */
function unitsOf(ids: string[]): string[] {
  return ids.flatMap((id) => {
    const { service, socket } = nameUnits(id);
    const runs = (['tail', 'head'] as const).map((end) => runUnit(runName(id, end)));
    return [...runs, service, socket, serviceUnit(id), socketUnit(id)];
  });
}

/** The units of namespaces that the files of units name. A link that cannot be read any more has such files, too. */
function namespacesOf(units: string[]): string[] {
  const texts = units.map((unit) => readUnitFile(unit) ?? '');
  return [...new Set(texts.flatMap((text) => text.match(/\bwormhole-netns@\S+\.service\b/g) ?? []))];
}

/**
 * Makes systemd forget units that have been removed, with at most one reload for all of them, and stops the namespaces that no
 * unit needs any more.
 *
 * @throws JobError when systemd cannot stop one
 */
export async function forgetUnits({ units, namespaces }: RemovedUnits, systemd: Systemd): Promise<void> {
  const loaded = await loadedOf(units, systemd);
  const failed = [...loaded].filter(([, { active }]) => active === 'failed');
  await Promise.all(failed.map(([name]) => systemd.resetFailed(name)));
  // A unit that another loaded unit refers to, such as sockets.target by the symlink, stays in memory until a reload.
  if (loaded.size > 0 && (await loadedOf(units, systemd)).size > 0) await systemd.beginReload();
  for (const unit of namespaces) await stopUnneededNamespace(unit, units, systemd);
}

/** The runs of links that start containers and have units, Wormhole's or not. Of a link that cannot be read, what --name said is unknown. */
export function existingRuns(ids: string[]): RunNames[] {
  const runs = ids
    .flatMap((link) => [runName(link, 'tail'), runName(link, 'head')].map((name) => ({ name, link })))
    .filter(({ name }) => readUnitFile(runUnit(name)) !== undefined && serviceOfRun(name) === undefined);
  if (runs.length === 0) return [];
  const known = runsIn(readLinks().links);
  return runs.map((run) => {
    const place = known.find(({ name }) => name === run.name)?.place;
    const said = place?.kind === 'run' ? place.request.name : undefined;
    return { ...run, ...(said !== undefined && { said }) };
  });
}

function describeLabelled(container: string, link: string): string {
  return `container "${container}" has the labels of link "${link}", and is none of its containers: it stays; docker rm -f ${container} removes it`;
}
