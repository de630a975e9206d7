import { describeEnd } from '../recipe/describe.js';
import { addressesOf, type End } from '../recipe/link.js';
import { isUnix } from '../recipe/recipe.js';
import { createCounters } from '../state/counters.js';
import { linkRenderer, makeForwarderRoot } from '../state/installation.js';
import { lastLines } from '../systemd/journal.js';
import { JobError, type Systemd } from '../systemd/systemd.js';
import { requireOwnName, writeUnitFile } from '../systemd/unit-files.js';
import { netnsUnit, serviceUnit, socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { renderLink, type UnitFile } from '../units/render.js';
import { runsOf } from '../units/runs.js';
import { findPortHolder } from './socket-tables.js';
import { requireFreePaths } from './unix-paths.js';

/** Another program listens where a head is to listen. */
export class AddressInUse extends Error {}

/**
 * Writes the units of a link and its children, starts what is not started by a connection, and enables it for the next boot.
 * Children come first: a link must not listen before what it leads to does.
 *
 * @throws AddressInUse, PathRefused; ForeignUnit, when nothing is written; Error with what systemd, or the program that failed, says
 */
export async function install(parts: PlannedLink[], systemd: Systemd): Promise<void> {
  const renderer = await linkRenderer();
  const files = parts.flatMap((part) => renderLink(part, renderer)).toReversed();
  // Before anything is written: a create that fails removes what it has written, and these are not among it.
  for (const { name } of files) requireOwnName(name);
  await writeUnits(files, systemd);
  await startUnits(parts, systemd);
  await requireLoaded(files, systemd);
}

/**
 * Starts the units of a link and its children that no connection starts, and enables them for the next boot.
 *
 * @throws as install
 */
export async function startUnits(parts: PlannedLink[], systemd: Systemd): Promise<void> {
  const since = Date.now();
  for (const part of parts.toReversed()) {
    createCounters(part.id);
    if ((await systemd.state(socketUnit(part.id))).active !== 'active') requireFreePaths(part.link.head);
    if (part.openedBy !== undefined) continue;
    const startedAtOnce = part.link.trigger ? [] : runsOf(part.link).map((run) => run.unit);
    for (const unit of [socketUnit(part.id), ...startedAtOnce]) {
      await startOrExplain(unit, { part, since, systemd });
      await systemd.enable(unit);
    }
  }
}

/**
 * Writes the socket and the service of an existing link again, and makes it listen as they say now. The containers that it runs
 * stay as they are; its sessions end.
 *
 * @throws as install
 */
export async function reinstall(part: PlannedLink, systemd: Systemd): Promise<void> {
  const [socket, service] = [socketUnit(part.id), serviceUnit(part.id)];
  const since = Date.now();
  const files = renderLink(part, await linkRenderer());
  await writeUnits(
    files.filter(({ name }) => name === socket || name === service),
    systemd,
  );
  for (const unit of [socket, service]) await systemd.stop(unit);
  await startOrExplain(socket, { part, since, systemd });
  await systemd.enable(socket);
}

interface Start {
  part: PlannedLink;
  /** From when on the journal tells of this start, ms since the epoch. */
  since: number;
  systemd: Systemd;
}

async function startOrExplain(unit: string, start: Start): Promise<void> {
  try {
    await start.systemd.start(unit);
  } catch (error) {
    throw error instanceof JobError ? await explain(error, start) : error;
  }
}

/**
 * Writes unit files, makes the directory that the forwarders in them need, and makes systemd use them as they are. It reads a unit that is not in memory by itself, so a reload, which
 * reads every unit of the machine again, is needed only for one that is in memory from an earlier link of the same id.
 */
async function writeUnits(files: UnitFile[], systemd: Systemd): Promise<void> {
  const isKnown = (await systemd.loaded(files.map(({ name }) => name))).size > 0;
  makeForwarderRoot();
  for (const { name, text } of files) writeUnitFile(name, text);
  if (isKnown) await systemd.reloadAll();
}

/** Makes sure that systemd understands the units that the started ones have made it read. */
export async function requireLoaded(files: UnitFile[], systemd: Systemd): Promise<void> {
  for (const [unit, { load }] of await systemd.loaded(files.map(({ name }) => name)))
    if (load !== 'loaded')
      throw new Error(`systemd does not load ${unit} (${load}): journalctl -b | grep ${unit}`);
}

/** Why a unit did not start, from what it and systemd logged about it and about the namespace that it needs. */
async function explain(error: JobError, { part, since }: Start): Promise<Error> {
  const { head } = part.link;
  const lines = await lastLines(error.unit, since);
  if (lines.some((line) => /Address already in use/.test(line))) return addressInUse(head);
  const needed = netnsUnit(head.place);
  if (needed && error.result === 'dependency') lines.push(...(await lastLines(needed, since)));
  // A program's own words say more than systemd's that it has failed.
  const own = lines.find((line) => line.startsWith('wormhole: '))?.slice('wormhole: '.length);
  const said = own ?? (lines.join(' / ') || 'the journal says nothing');
  return new Error(`link "${part.id}" could not be started (${error.result}): ${said}`);
}

/** Names the address of a head that another program has, if it can be told which one that is. */
async function addressInUse(head: End): Promise<AddressInUse> {
  for (const address of addressesOf(head)) {
    const end = { ...address, place: head.place };
    if (isUnix(end)) continue;
    const holder = await findPortHolder(end.place, end.protocol, end.port).catch(() => undefined);
    if (holder !== undefined)
      return new AddressInUse(
        `${describeEnd(end)} is in use already by ${holder}: stop what listens there, or take another port`,
      );
  }
  return new AddressInUse(
    `${describeEnd(head)} is in use already: stop what listens there, or take another ${isUnix(head) ? 'name' : 'port'}`,
  );
}
