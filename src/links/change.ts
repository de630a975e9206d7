import { rmSync } from 'node:fs';
import { removeRun } from '../docker/remove-run.js';
import { containerName, type RunNames } from '../docker/runs.js';
import { bringBackRuns, setAsideRun } from '../docker/set-aside.js';
import { type FormerLink, forgetFormerLink, formerLinks, recordFormerLinks } from '../state/former-links.js';
import { linkRenderer, makeForwarderRoot } from '../state/installation.js';
import { forgetKeptContainer } from '../state/kept-containers.js';
import { readLinks } from '../state/links.js';
import { removeCounters } from '../state/traffic.js';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { readDropIn, removeDropIn, writeDropIns } from '../systemd/drop-ins.js';
import { JobError, type Systemd } from '../systemd/systemd.js';
import {
  foreignUnit,
  readUnitFile,
  removeUnitFiles,
  requireOwnName,
  unlinkUnitFiles,
  writeUnitFiles,
} from '../systemd/unit-files.js';
import { type LinkChange, type LinkVersion, planChange } from '../units/change.js';
import { DROP_IN, type DropIn, hasText } from '../units/declared-drop-ins.js';
import {
  farFile,
  idOfUnit,
  linkDirectory,
  netnsUnit,
  runUnit,
  serviceUnit,
  socketUnit,
} from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { renderLink } from '../units/render.js';
import type { Run } from '../units/runs.js';
import { closeGate, openGate } from './containers/gates.js';
import { requireEngine } from './containers/require-engine.js';
import { runsIn, servicesIn } from './containers/runs.js';
import {
  removeFormerVersions,
  removeLeftFormerVersion,
  requireWhole,
  tryToRemoveFormerVersion,
} from './former-version.js';
import { loadedOf, requireLoaded, startParts, startUnits } from './install.js';
import { isStopped } from './is-stopped.js';
import { releaseService } from './units/existing.js';

/** A change of a link, with its children the parent first, in place. */
export interface LinkReplacement {
  former: PlannedLink[];
  next: PlannedLink[];
  /** The id of the link whose tail is on another machine, if what its forwarder is told changes, and what tells it. */
  far?: { id: string; tell: () => void };
  /** The drop-ins of files that change, and the units that have to be started again for that. */
  dropIns?: DropInChange;
}

/** Drop-ins that change. */
export interface DropInChange {
  dropIns: DropIn[];
  /** The ids of links whose sockets listen otherwise then. */
  close: string[];
  /** The forwarders that run otherwise then. */
  restart: string[];
}

/**
 * Changes a link in place: what is the same in both versions goes on, its container, its listening socket, its sessions. When
 * anything fails, the former version is put back. Call it with the lock `links` held.
 *
 * @returns what is left of the former version, a line each, for people
 * @throws ForeignUnit, before anything is done; EngineDown; as startUnits
 */
export async function changeLink(replacement: LinkReplacement, systemd: Systemd): Promise<string[]> {
  const { failures, left } = await changeLinks([replacement], systemd);
  const error = failures.get(replacement);
  if (error) throw error;
  return left;
}

/** What became of several changes. */
export interface Changes {
  /** Why links could not be changed, which are what they were before. */
  failures: Map<LinkReplacement, Error>;
  /** What is left of the former versions of links that are changed, a line each, for people. */
  left: string[];
}

/**
 * Changes several links as {@link changeLink} does, with one reload of systemd for all of them. All that cannot stay is closed
 * before anything new is opened, so links can exchange their ports.
 */
export async function changeLinks(replacements: LinkReplacement[], systemd: Systemd): Promise<Changes> {
  const failures = new Map<LinkReplacement, Error>();
  const begun: Application[] = [];
  for (const replacement of replacements) {
    try {
      const application = await begin(replacement, systemd);
      if (application) begun.push(application);
    } catch (error) {
      failures.set(replacement, error as Error);
    }
  }
  recordFormerLinks(begun.map(({ replacement, saved }) => [rootOf(replacement), saved]));
  const isChanged = ({ replacement }: Application) => !failures.has(replacement);
  /** Does a step of each change that has not failed, and puts back the link whose step fails. */
  const each = async (step: (application: Application) => Promise<void>) => {
    for (const application of begun) {
      const { replacement, saved } = application;
      if (!isChanged(application)) continue;
      try {
        await step(application);
      } catch (error) {
        const explained = await putBackOrExplain(rootOf(replacement), saved, error as Error, systemd).then(
          () => error,
          (worse) => worse,
        );
        failures.set(replacement, explained as Error);
      }
    }
  };
  try {
    for (const { saved } of begun) closeGates(saved);
    await each(once(async () => writeChanged(begun)));
    await each((application) => exchange(application, systemd));
    unlinkUnitFiles(begun.filter(isChanged).flatMap(unitsOf));
    const parts = begun.filter(isChanged).flatMap(({ replacement }) => replacement.next);
    await each(once(() => reload(parts, systemd)));
    await each(async ({ replacement }) => replacement.far?.tell());
  } finally {
    for (const { saved } of begun) openGates(saved);
  }
  const started = new Map<Application, string[]>();
  await each(async (application) => {
    const { replacement, saved } = application;
    if (!saved.isStopped) started.set(application, await startParts(replacement.next, systemd));
  });
  const enabled = begun.filter(isChanged).flatMap((application) => started.get(application) ?? []);
  await each(once(() => systemd.enable(enabled)));
  await each(({ replacement, saved }) => finishOpening(replacement.next, saved, systemd));
  const loaded = await loadedOf(
    begun.flatMap(({ files }) => files),
    systemd,
  );
  await each(async ({ files }) => requireLoaded(files, loaded));
  const left = await removeFormerVersions(
    begun
      .filter(isChanged)
      .map(({ replacement, saved }) => [rootOf(replacement), { ...saved, removed: removedBy(replacement) }]),
  );
  return { failures, left };
}

/** What does something the first time, and has what came of that for every other time. */
function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= work();
    return done;
  };
}

/** Plans a change. Undefined when nothing is to be done. */
async function begin(replacement: LinkReplacement, systemd: Systemd): Promise<Application | undefined> {
  const { former, next, far, dropIns } = replacement;
  const versions = { former: await version(former), next: await version(next) };
  const change = planChange(versions.former, versions.next);
  const root = former[0];
  if (!root || (change.isEmpty && !far && !dropIns)) return undefined;
  await requireWhole(root.id);
  await removeLeftFormerVersion(root.id);
  for (const name of change.added) requireOwnName(name);
  if (change.runs.length > 0) await requireEngine();
  const saved: FormerLink = {
    units: versions.former.files.flatMap(({ name }) => {
      const text = readUnitFile(name);
      return text === undefined ? [] : { name, text };
    }),
    added: change.added,
    close: [...new Set([...change.close, ...(dropIns?.close ?? [])])],
    restart: [...new Set([...change.restart, ...(dropIns?.restart ?? [])])],
    ...runsOfChange(change, versions),
    isStopped: await isStopped(root, systemd),
    ...(far && { far: withText(far.id) }),
    ...(dropIns && { dropIns: dropIns.dropIns.map(({ unit }) => formerDropIn(unit)) }),
  };
  return { replacement, change, saved, files: versions.next.files };
}

function formerDropIn(unit: string): DropIn {
  const text = readDropIn(unit, DROP_IN);
  return { unit, ...(text !== undefined && { text }) };
}

/** The ids of the children that a link no longer has. */
function removedBy({ former, next }: LinkReplacement): string[] {
  const kept = new Set(next.map(({ id }) => id));
  return former.flatMap(({ id }) => (kept.has(id) ? [] : id));
}

function rootOf({ former }: Pick<LinkReplacement, 'former'>): string {
  return former[0]?.id ?? '';
}

/**
 * Puts back the links whose changes were killed midway, and removes what is left of the former versions of those that are changed.
 * Call it with the lock `links` held.
 *
 * @throws as changeLink
 */
export async function putBackKilledChanges(systemd: Systemd): Promise<void> {
  const all = [...formerLinks()];
  for (const [id, { removed }] of all) if (removed !== undefined) await tryToRemoveFormerVersion(id);
  const killed = all.filter(([, { removed }]) => removed === undefined);
  if (killed.length === 0) return;
  await putBack(killed, systemd);
  const failures: string[] = [];
  for (const [id, saved] of killed) {
    try {
      await openAgain(id, saved, systemd);
    } catch (error) {
      failures.push(
        `link "${id}" is put back, which a killed command had half changed, and does not listen (${(error as Error).message}): wormhole start ${id}`,
      );
    }
  }
  // They are forgotten already, so that a port which somebody has taken holds up one command and not every one.
  if (failures.length > 0) throw new Error(`${failures.join('; ')}; then give this command again`);
}

async function version(parts: PlannedLink[]): Promise<LinkVersion> {
  const renderer = await linkRenderer();
  return { parts, files: parts.flatMap((part) => renderLink(part, renderer)) };
}

function runsOfChange(
  { runs }: LinkChange,
  { former, next }: Record<'former' | 'next', LinkVersion>,
): Required<Pick<FormerLink, 'runs' | 'addedRuns'>> {
  const existing = new Set(ownRuns(former.parts).map(({ name }) => name));
  const made = new Map(ownRuns(next.parts).map((run) => [run.name, run]));
  return {
    runs: runs.map(({ name, link, place }) => {
      const run = made.get(name);
      return {
        ...namesOf({ name, link, place }),
        ...(run && { next: containerName(name, { ...(run.said !== undefined && { name: run.said }) }) }),
      };
    }),
    addedRuns: [...made.values()].filter(({ name }) => !existing.has(name)),
  };
}

/** The containers that are the links' own. */
function ownRuns(parts: PlannedLink[]): RunNames[] {
  return runsIn(parts)
    .filter(({ place }) => place.kind === 'run')
    .map(({ name, link, place }) => namesOf({ name, link: link.id, place }));
}

function namesOf({ name, link, place }: Pick<Run, 'name' | 'place'> & { link: string }): RunNames {
  const said = place.kind === 'run' ? place.request.name : undefined;
  return { name, link, ...(said !== undefined && { said }) };
}

function withText(id: string): NonNullable<FormerLink['far']> {
  const text = readIfExists(farFile(id));
  return { id, ...(text !== undefined && { text }) };
}

interface Application {
  replacement: LinkReplacement;
  change: LinkChange;
  saved: FormerLink;
  files: LinkVersion['files'];
}

/** Writes the new units of links. */
function writeChanged(applications: Application[]): void {
  // Children first, as at creation: a link is not known before what it leads to.
  writeUnitFiles(applications.flatMap(({ files }) => files.toReversed()));
  setDropIns(applications.flatMap(({ replacement }) => replacement.dropIns?.dropIns ?? []));
}

/** Stops what cannot stay of a link. */
async function exchange({ replacement, change, saved }: Application, systemd: Systemd): Promise<void> {
  await close(saved, systemd);
  await endOtherStarts(replacement, systemd);
  for (const run of saved.runs) {
    await setAsideRun(run);
    forgetKeptContainer(run.name);
  }
  for (const unit of change.gone) await systemd.stop(unit);
  unlinkUnitFiles(change.gone);
  removeUnitFiles(change.gone);
}

/** Ends what starts the service of a tail that starts another one now, or did start a container: it would count as started. */
async function endOtherStarts({ former, next }: LinkReplacement, systemd: Systemd): Promise<void> {
  const wanted = servicesIn(next);
  for (const { name, place } of servicesIn(former))
    if (!wanted.some((other) => other.name === name && other.place.name === place.name))
      await releaseService({ name, service: place.name }, systemd);
  for (const { name, unit } of runsIn(former))
    if (wanted.some((other) => other.name === name)) await systemd.stop(unit);
}

function unitsOf({ saved, files }: Application): string[] {
  return [...saved.units, ...files].map(({ name }) => name);
}

function setDropIns(dropIns: { unit: string; text?: string }[]): void {
  for (const dropIn of dropIns) if (!hasText(dropIn)) removeDropIn(dropIn.unit, DROP_IN);
  writeDropIns(dropIns.filter(hasText), DROP_IN);
}

/** Removes what links have had beside these units, which are removed. */
async function removeStateOf(units: string[]): Promise<void> {
  const ids = units.flatMap((unit) => (unit.endsWith('.socket') ? idOfUnit(unit) : undefined) ?? []);
  if (ids.length === 0) return;
  for (const id of ids) rmSync(linkDirectory(id), { recursive: true, force: true });
  await removeCounters(ids);
}

/** Puts the units and containers of links back as they were. What an earlier call has done already is fine. */
async function putBack(links: [string, FormerLink][], systemd: Systemd): Promise<void> {
  const needsEngine = ({ runs, addedRuns = [] }: FormerLink) => runs.length > 0 || addedRuns.length > 0;
  if (links.some(([, saved]) => needsEngine(saved))) await requireEngine();
  try {
    for (const [, saved] of links) closeGates(saved);
    for (const [, saved] of links) {
      // On a disk that is full, what is as it was must not be written.
      const differ = saved.units.filter(({ name, text }) => readUnitFile(name) !== text);
      writeUnitFiles(differ.toReversed());
      setDropIns(saved.dropIns ?? []);
      await close(saved, systemd);
      for (const unit of saved.added)
        if (foreignUnit(unit) === undefined) {
          await systemd.stop(unit);
          // A start that was going on counts as failed.
          await systemd.resetFailed(unit);
        }
      for (const run of saved.addedRuns ?? []) {
        await stopNamespaceOf(run.name, systemd);
        await removeRun(run);
      }
      await bringBackRuns(saved.runs);
      for (const { name } of [...saved.runs, ...(saved.addedRuns ?? [])]) forgetKeptContainer(name);
      unlinkUnitFiles([...saved.units.map(({ name }) => name), ...saved.added]);
      removeUnitFiles(saved.added);
      await removeStateOf(saved.added);
      if (saved.far?.text !== undefined) {
        makeDirectory(linkDirectory(saved.far.id));
        writeAtomically(farFile(saved.far.id), saved.far.text);
      }
    }
    await reload([], systemd);
  } finally {
    for (const [, saved] of links) openGates(saved);
  }
  for (const [id] of links) forgetFormerLink(id);
}

async function openAgain(id: string, saved: FormerLink, systemd: Systemd): Promise<void> {
  const parts = readLinks().links.filter(({ root }) => root === id);
  await open(parts, saved, systemd);
}

async function putBackOrExplain(
  id: string,
  saved: FormerLink,
  reason: Error,
  systemd: Systemd,
): Promise<void> {
  let next = 'the next command that changes links tries again';
  try {
    await putBack([[id, saved]], systemd);
    next = `wormhole start ${id} tries again`;
    await openAgain(id, saved, systemd);
  } catch (error) {
    throw new Error(
      `${reason.message}; putting link "${id}" back failed too (${(error as Error).message}), ${next}`,
    );
  }
}

/** Connections are held while the containers of a link are exchanged. */
function closeGates({ runs }: FormerLink): void {
  for (const { name } of runs) closeGate(name);
}

function openGates({ runs }: FormerLink): void {
  for (const { name } of runs) openGate(name);
}

/** Stops what cannot stay: sockets that listen otherwise or not at all, and what uses containers that are exchanged. */
async function close({ close: ids, runs }: FormerLink, systemd: Systemd): Promise<void> {
  for (const id of ids) {
    await systemd.stop(socketUnit(id));
    await systemd.stop(serviceUnit(id));
  }
  for (const { name, link } of runs) {
    await systemd.stop(serviceUnit(link));
    await systemd.stop(runUnit(name));
    await stopNamespaceOf(name, systemd);
    await systemd.resetFailed(runUnit(name));
  }
}

async function stopNamespaceOf(run: string, systemd: Systemd): Promise<void> {
  const namespace = netnsUnit({ kind: 'run', name: run }) ?? '';
  await systemd.stop(namespace);
  await systemd.resetFailed(namespace);
}

async function reload(parts: PlannedLink[], systemd: Systemd): Promise<void> {
  makeForwarderRoot();
  for (const { id } of parts) makeDirectory(linkDirectory(id));
  await systemd.reloadAll();
}

async function open(parts: PlannedLink[], saved: FormerLink, systemd: Systemd): Promise<void> {
  if (saved.isStopped) return;
  await startUnits(parts, systemd);
  await finishOpening(parts, saved, systemd);
}

/** Opens what a running unit has opened before, and has running forwarders do what their units say now. */
async function finishOpening(parts: PlannedLink[], saved: FormerLink, systemd: Systemd): Promise<void> {
  if (saved.isStopped) return;
  for (const { id, openedBy } of parts) {
    // What opens it runs already, and does not start it a second time.
    if (openedBy !== undefined && (await systemd.state(openedBy)).active === 'active')
      await systemd.start(socketUnit(id));
  }
  for (const unit of saved.restart) {
    try {
      await systemd.tryRestart(unit);
    } catch (error) {
      // Its idleness may stop it at this moment.
      if (!(error instanceof JobError && error.result === 'canceled')) throw error;
    }
  }
}
