import { containerName, type RunNames } from '../docker/runs.js';
import { setAsideRun } from '../docker/set-aside.js';
import { type FormerLink, recordFormerLinks } from '../state/former-links.js';
import { linkRenderer } from '../state/installation.js';
import { forgetKeptContainer } from '../state/kept-containers.js';
import { readIfExists } from '../system/files.js';
import { readDropIn } from '../systemd/drop-ins.js';
import type { Systemd } from '../systemd/systemd.js';
import {
  linkUnitFiles,
  readUnitFile,
  removeUnitFiles,
  requireOwnName,
  unlinkUnitFiles,
  writeUnitFiles,
} from '../systemd/unit-files.js';
import { type LinkChange, type LinkVersion, planChange } from '../units/change.js';
import { DROP_IN, type DropIn } from '../units/declared-drop-ins.js';
import { farFile } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { renderLink } from '../units/render.js';
import type { Run } from '../units/runs.js';
import { close, closeGates, finishOpening, openGates, reload, setDropIns } from './change-steps.js';
import { requireEngine } from './containers/require-engine.js';
import { runsIn, servicesIn } from './containers/runs.js';
import { forgetFailedForwarder } from './failed-forwarder.js';
import { removeFormerVersions, removeLeftFormerVersion, requireFinished } from './former-version.js';
import { requireLoaded, startParts } from './install.js';
import { isStopped } from './is-stopped.js';
import { putBackOrExplain } from './put-back.js';
import { releaseService } from './units/existing.js';
import { loadedOf } from './units/loaded.js';

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
  await each(once(async () => linkUnitFiles(enabled)));
  await each(({ replacement, saved }) => finishOpening(replacement.next, saved, systemd));
  const loaded = await loadedOf(
    begun.flatMap(({ files }) => files.map(({ name }) => name)),
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
  await requireFinished(root.id);
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
  for (const unit of change.gone) {
    await systemd.stop(unit);
    await systemd.resetFailed(unit);
  }
  for (const id of removedBy(replacement)) await forgetFailedForwarder(id, systemd);
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
