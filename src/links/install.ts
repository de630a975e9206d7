import pLimit from 'p-limit';
import { describeEnd } from '../recipe/describe.js';
import { addressesOf, type End } from '../recipe/link.js';
import { isUnix } from '../recipe/recipe.js';
import { createCounters } from '../state/counters.js';
import { linkRenderer, makeForwarderRoot } from '../state/installation.js';
import { writeDropIns } from '../systemd/drop-ins.js';
import { lastLines } from '../systemd/journal.js';
import { JobError, type LoadedUnit, type Systemd } from '../systemd/systemd.js';
import { linkUnitFiles, requireOwnName, writeUnitFiles } from '../systemd/unit-files.js';
import { DROP_IN, type DropIn, hasText } from '../units/declared-drop-ins.js';
import { netnsUnit, serviceUnit, socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { renderLink, type UnitFile } from '../units/render.js';
import { runsOf } from '../units/runs.js';
import { forgetFailedForwarder } from './failed-forwarder.js';
import { findPortHolder } from './socket-tables.js';
import { loadedOf } from './units/loaded.js';
import { requireFreePaths } from './unix-paths.js';

/** Another program listens where a head is to listen. */
export class AddressInUse extends Error {}

/** A link that is to be installed, with its children, the parent first, and with the drop-ins of its units. */
export interface NewLink {
  parts: PlannedLink[];
  dropIns?: DropIn[];
}

/**
 * Writes the units of a link and its children, starts what is not started by a connection, and enables it for the next boot.
 * Children come first: a link must not listen before what it leads to does.
 *
 * @throws AddressInUse, PathRefused; ForeignUnit, when nothing is written; Error with what systemd, or the program that failed, says
 */
export async function install(link: NewLink, systemd: Systemd): Promise<void> {
  const error = (await installAll([link], systemd)).get(link);
  if (error) throw error;
}

/** Links that are started at the same time. */
const AT_ONCE = 16;

/**
 * Installs several links as {@link install} does, with at most one reload of systemd for all of them.
 *
 * @throws the system call's error when files cannot be written; parts of all of them may exist then
 * @returns why links could not be installed. Parts of those may exist
 */
export async function installAll(links: NewLink[], systemd: Systemd): Promise<Map<NewLink, Error>> {
  const failures = new Map<NewLink, Error>();
  const attempt = async <T>(link: NewLink, work: () => T | Promise<T>): Promise<T | undefined> => {
    if (failures.has(link)) return undefined;
    try {
      return await work();
    } catch (error) {
      failures.set(link, error as Error);
      return undefined;
    }
  };
  const renderer = await linkRenderer();
  const files = new Map<NewLink, UnitFile[]>();
  // Before anything is written: a create that fails removes what it has written, and foreign units are not among it.
  for (const link of links)
    await attempt(link, () => {
      const own = link.parts.flatMap((part) => renderLink(part, renderer)).toReversed();
      for (const { name } of own) requireOwnName(name);
      files.set(link, own);
    });
  const isKnown = await anyLoaded([...files.values()].flat(), systemd);
  makeForwarderRoot();
  writeDropIns(
    [...files.keys()].flatMap(({ dropIns }) => (dropIns ?? []).filter(hasText)),
    DROP_IN,
  );
  writeUnitFiles([...files.values()].flat());
  if (isKnown) await systemd.reloadAll();
  const limit = pLimit(AT_ONCE);
  const started = await Promise.all(
    links.map((link) => limit(() => attempt(link, () => startParts(link.parts, systemd)))),
  );
  linkUnitFiles(started.flatMap((units) => units ?? []));
  const loaded = await loadedOf(namesOf([...files.values()].flat()), systemd);
  for (const [link, own] of files) await attempt(link, () => requireLoaded(own, loaded));
  return failures;
}

/**
 * Starts the units of a link and its children that no connection starts, and enables them for the next boot.
 *
 * @throws as install
 */
export async function startUnits(parts: PlannedLink[], systemd: Systemd): Promise<void> {
  linkUnitFiles(await startParts(parts, systemd));
}

/**
 * Starts the units of a link and its children that no connection starts, and forgets that forwarders have failed. Returns the units: they
 * are to be enabled.
 *
 * @throws as install
 */
export async function startParts(parts: PlannedLink[], systemd: Systemd): Promise<string[]> {
  const since = Date.now();
  const started: string[] = [];
  for (const part of parts.toReversed()) {
    createCounters(part.id);
    await forgetFailedForwarder(part.id, systemd);
    if ((await systemd.state(socketUnit(part.id))).active !== 'active') requireFreePaths(part.link.head);
    if (part.openedBy !== undefined) continue;
    const startedAtOnce = part.link.trigger ? [] : runsOf(part.link).map((run) => run.unit);
    for (const unit of [socketUnit(part.id), ...startedAtOnce]) {
      await startOrExplain(unit, { part, since, systemd });
      started.push(unit);
    }
  }
  return started;
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
  // If this is killed, a socket that does not listen is installed again, and one that listens is what its file says.
  for (const unit of [socket, service]) await systemd.stop(unit);
  await writeUnits(
    files.filter(({ name }) => name === socket || name === service),
    systemd,
  );
  await forgetFailedForwarder(part.id, systemd);
  await startOrExplain(socket, { part, since, systemd });
  linkUnitFiles([socket]);
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
  const isKnown = await anyLoaded(files, systemd);
  makeForwarderRoot();
  writeUnitFiles(files);
  if (isKnown) await systemd.reloadAll();
}

async function anyLoaded(files: UnitFile[], systemd: Systemd): Promise<boolean> {
  return (await loadedOf(namesOf(files), systemd)).size > 0;
}

function namesOf(files: UnitFile[]): string[] {
  return files.map(({ name }) => name);
}

/** Makes sure that systemd understands the units that the started ones have made it read. @param loaded has at least these */
export function requireLoaded(files: UnitFile[], loaded: Map<string, LoadedUnit>): void {
  for (const { name } of files) {
    const { load = 'loaded' } = loaded.get(name) ?? {};
    if (load !== 'loaded')
      throw new Error(`systemd does not load ${name} (${load}): journalctl -b | grep ${name}`);
  }
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
