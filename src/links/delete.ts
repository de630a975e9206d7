import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import pLimit from 'p-limit';
import { type KeptRun, keepRun, takeBackRun } from '../docker/keep-run.js';
import type { RunNames } from '../docker/runs.js';
import { type OwnVolume, removeVolume } from '../docker/volumes.js';
import { runName } from '../recipe/link.js';
import { familyOf, type Links, readLinks } from '../state/links.js';
import { withLock } from '../state/lock.js';
import {
  type HeldDeletion,
  type PartDeletion,
  recordDeletions,
  startPendingDeletions,
} from '../state/pending-deletions.js';
import { retainedGuards } from '../state/retained-guards.js';
import { markFinished, markUnfinished } from '../state/unfinished.js';
import { removeDropIns } from '../systemd/drop-ins.js';
import { type Systemd, withSystemd } from '../systemd/systemd.js';
import { foreignUnit, readUnitFile } from '../systemd/unit-files.js';
import { repairTunnels } from '../tunnels/repair.js';
import { isId, runUnit, serviceUnit, socketUnit } from '../units/names.js';
import { requireEngine } from './containers/require-engine.js';
import { findVolumes, findVolumesIfKnown, nameVolumes } from './containers/volumes.js';
import { contentOf, unitsOfLink } from './declared/drop-ins.js';
import { LINKS_DIR } from './declared/files.js';
import { requireWhole } from './former-version.js';
import { startUnits } from './install.js';
import { isStopped } from './is-stopped.js';
import { deletionOf, farPartsOf } from './remote/far-parts-of.js';
import { existingRuns, forgetUnits, type RemovedUnits, removeUnits } from './remove.js';
import { putBackUnfinished, removeUnfinished, tellOnStderr } from './unfinished.js';

/** There is no link with that id. */
export class NoSuchLink extends Error {}

/** The link is a child of another, which has to be deleted as a whole. */
export class IsChild extends Error {}

/** What became of a link that was to be deleted. */
export interface Deletion {
  id: string;
  /** Why it is not deleted: NoSuchLink, IsChild; JobError when systemd cannot stop a unit; EngineDown. */
  failure?: Error;
  /**
   * What is left on another machine, what stays here because it is not the link's, and what goes that somebody had added: a
   * line each, for people.
   */
  left: string[];
}

/** What is to become of what belongs to links that are deleted. */
export interface DeleteOptions {
  /** Whether other machines that have parts of them are told. Default true; otherwise they are not, now or ever. */
  tell?: boolean;
  /** Remove also the volumes that Wormhole has made for their containers, those of links that are deleted already included. */
  volumes?: boolean;
  /** Leave their containers, stopped and under other names. */
  keep?: boolean;
  /** Mention the files that describe them, which stay. Default true. */
  mentionFiles?: boolean;
}

/** Links whose units are stopped, and whose containers are removed, at the same time. */
const AT_ONCE = 16;

/**
 * Deletes links with their children, also those whose units cannot be read any more, and has systemd reload once for all of
 * them. Their parts on other machines are deleted too, as soon as these machines can be reached. A link that cannot be deleted
 * does not keep the others.
 *
 * @param ids or `all`: every link of this machine, also those that are parts of other machines' links
 * @returns what became of each link; a child that is deleted with its parent is not among them
 */
export function deleteLinks(
  ids: string[] | 'all',
  { tell = true, volumes = false, keep = false, mentionFiles = true }: DeleteOptions = {},
): Promise<Deletion[]> {
  return withSystemd(async (systemd) => {
    const recorded: HeldDeletion[] = [];
    try {
      const deletions = await withLock('links', () =>
        deleteHere(ids, { tell, volumes, keep, mentionFiles, recorded }, systemd),
      );
      // One of them may have been the last link that kept the addresses of a deleted tunnel blocked.
      if (retainedGuards().length > 0) await repairTunnels();
      for (const deletion of deletions) {
        await deleteThere(deletion, tell);
        if (deletion.volumeFailure) deletion.failure ??= deletion.volumeFailure;
      }
      return deletions;
    } finally {
      // Links that are half deleted will go, and so do their parts. Those of links that are whole are in use, and stay.
      for (const held of recorded) held.release();
      await startPendingDeletions(systemd);
    }
  });
}

/**
 * Deletes one link, as {@link deleteLinks} does.
 *
 * @returns the `left` of the {@link Deletion}
 * @throws its `failure`
 */
export async function deleteLink(id: string, options?: DeleteOptions): Promise<string[]> {
  const [deletion] = await deleteLinks([id], options);
  if (deletion?.failure) throw deletion.failure;
  return deletion?.left ?? [];
}

/** A deletion under way: of the links `family`, children before their parents, and of parts on other machines. */
interface DeletionHere extends Deletion {
  family: string[];
  parts?: PartDeletion[];
  /** The deletions of these parts, of which there are none if other machines are not told. */
  held?: HeldDeletion;
  /** The names of its containers that stay. */
  kept?: string[];
  /** The link is deleted, and a volume of it could not be removed. */
  volumeFailure?: Error;
}

/** Deletes all that is on this machine, and records in `recorded` what is on others. */
async function deleteHere(
  ids: string[] | 'all',
  {
    tell,
    volumes: removesVolumes,
    keep,
    mentionFiles,
    recorded,
  }: Required<DeleteOptions> & { recorded: HeldDeletion[] },
  systemd: Systemd,
): Promise<DeletionHere[]> {
  // A link is deleted as it is, and not as a command that was killed has half changed it.
  await putBackUnfinished(systemd);
  const deletions = planDeletions(ids, readLinks());
  for (const deletion of deletions)
    if (!deletion.failure) await failing(deletion, () => requireWhole(deletion.id));
  const known = await volumesFor(deletions, removesVolumes);
  if (removesVolumes) planVolumeDeletions(ids, deletions, known);
  const removedVolumes = await removeUnfinished(systemd, (left, error) => {
    const deletion = deletions.find(({ family }) => family.some((id) => left.includes(id)));
    if (deletion) deletion.failure ??= error;
    else tellOnStderr(left, error);
  });
  const volumes = known.filter(({ name }) => !removedVolumes.includes(name));
  // Before anything is marked as half deleted: the next command after a kill removes what is to be kept, and tells no other machine.
  for (const deletion of deletions) {
    if (deletion.failure) continue;
    await failing(deletion, async () => {
      deletion.held = recordDeletions(tell ? (deletion.parts ?? []) : []);
    });
    if (deletion.held) recorded.push(deletion.held);
    if (keep && !deletion.failure) await failing(deletion, () => keepContainers(deletion, systemd));
    if (deletion.failure) deletion.held?.discard();
  }
  const open = deletions.filter(({ failure }) => failure === undefined);
  if (mentionFiles) for (const deletion of open) mentionFile(deletion);
  markUnfinished(open.flatMap(({ family }) => family));
  const limit = pLimit(AT_ONCE);
  const removed = await Promise.all(open.map((deletion) => limit(() => removeFamily(deletion, systemd))));
  const [units, namespaces] = [
    removed.flatMap((one) => one.units),
    [...new Set(removed.flatMap((one) => one.namespaces))],
  ];
  await forgetUnits({ units, namespaces }, systemd);
  markFinished(open.flatMap(({ failure, family }) => (failure ? [] : family)));
  for (const deletion of open.filter(({ failure }) => failure === undefined)) {
    const own = volumes.filter(({ link }) => deletion.family.includes(link));
    if (own.length === 0) continue;
    if (removesVolumes) await removeVolumes(deletion, own);
    else deletion.left.push(describeVolumes(deletion.id, own));
  }
  return deletions;
}

/** The volumes that have to be removed or named. @throws EngineDown when they are to be removed, and no engine can tell them */
async function volumesFor(deletions: DeletionHere[], removesVolumes: boolean): Promise<OwnVolume[]> {
  if (removesVolumes) return findVolumes();
  return deletions.some(hasRuns) ? ((await findVolumesIfKnown()) ?? []) : [];
}

/** Adds the deletions of links of which only volumes are left. */
function planVolumeDeletions(ids: string[] | 'all', deletions: DeletionHere[], volumes: OwnVolume[]): void {
  const planned = new Set(deletions.flatMap(({ family }) => family));
  const { links, unreadable } = readLinks();
  const existing = new Set([...links, ...unreadable].map(({ id }) => id));
  for (const id of new Set(volumes.map(({ link }) => link))) {
    if (planned.has(id) || existing.has(id) || !(ids === 'all' || ids.includes(id))) continue;
    const unknown = deletions.find((deletion) => deletion.id === id);
    const deletion = unknown ?? { id, family: [], left: [] };
    deletion.family = [id];
    delete deletion.failure;
    if (!unknown) deletions.push(deletion);
  }
}

async function removeVolumes(deletion: DeletionHere, volumes: OwnVolume[]): Promise<void> {
  for (const { name } of volumes) {
    try {
      await removeVolume(name);
    } catch (error) {
      deletion.volumeFailure = error as Error;
    }
  }
}

function describeVolumes(id: string, volumes: OwnVolume[]): string {
  const ids = [...new Set(volumes.map(({ link }) => link))].sort();
  return `link "${id}": ${nameVolumes(volumes)} stays, with its data: wormhole delete --volumes ${ids.join(' ')} removes it`;
}

function hasRuns({ family }: DeletionHere): boolean {
  return family.some((id) =>
    [runName(id, 'head'), runName(id, 'tail')].some((name) => readUnitFile(runUnit(name)) !== undefined),
  );
}

/** Leaves the containers of a link, stopped and under other names, and says which. When that fails, the link is as it was. */
async function keepContainers(deletion: DeletionHere, systemd: Systemd): Promise<void> {
  const { id, family } = deletion;
  const runs = existingRuns(family).filter(({ name }) => foreignUnit(runUnit(name)) === undefined);
  if (runs.length > 0) await requireEngine();
  const parts = readLinks().links.filter((link) => family.includes(link.id));
  const [root] = parts;
  const wasOpen = root !== undefined && !(await isStopped(root, systemd));
  const kept: { run: RunNames; as: KeptRun }[] = [];
  try {
    // No client starts again what is being stopped.
    for (const unit of [...family.map(socketUnit), ...family.map(serviceUnit)])
      if (foreignUnit(unit) === undefined) await systemd.stop(unit);
    for (const run of runs) {
      await systemd.stop(runUnit(run.name));
      const as = await keepRun(run);
      if (as) kept.push({ run, as });
    }
  } catch (error) {
    try {
      for (const { run, as } of kept) await takeBackRun(run, as);
      if (wasOpen) await startUnits(parts, systemd);
    } catch (worse) {
      throw new Error(
        `${(error as Error).message}; leaving link "${id}" as it was failed too (${(worse as Error).message}): give this command again, or wormhole start ${id}`,
      );
    }
    throw error;
  }
  for (const { as } of kept) {
    const names = [as.holder, as.container].filter((name) => name !== undefined);
    deletion.kept = [...(deletion.kept ?? []), ...names];
    deletion.left.push(
      `link "${id}": its container stays, stopped, as "${as.container}": docker start ${names.join(' ')} starts it, docker rm ${names.join(' ')} removes it`,
    );
  }
}

/** Does a step of a deletion, which fails with it. */
async function failing(deletion: DeletionHere, step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (error) {
    deletion.failure = error as Error;
  }
}

function mentionFile({ id, left }: DeletionHere): void {
  const { file, label } = contentOf(unitsOfLink(id));
  if (label !== undefined)
    left.push(
      `link "${id}": its label stays, ${label}, and wormhole labels creates the link again: remove the container too`,
    );
  if (file === undefined || !existsSync(file)) return;
  const apply = dirname(file) === LINKS_DIR ? 'wormhole apply' : `wormhole apply -f ${dirname(file)}`;
  left.push(`link "${id}": its file ${file} stays, and ${apply} creates the link again: remove the file too`);
}

/** Returns the units that it has removed, and those of their namespaces. */
async function removeFamily(deletion: DeletionHere, systemd: Systemd): Promise<RemovedUnits> {
  try {
    const { units, namespaces, left } = await removeUnits(deletion.family, systemd);
    const dropIns = removeDropIns(units);
    const kept = deletion.kept ?? [];
    deletion.left.push(
      ...dropIns.map((path) => `link "${deletion.id}": its drop-in ${path} is removed with it`),
      ...left.filter(({ container }) => !kept.includes(container)).map(({ line }) => line),
    );
    return { units, namespaces };
  } catch (error) {
    deletion.failure = error as Error;
    return { units: [], namespaces: [] };
  }
}

function planDeletions(ids: string[] | 'all', links: Links): DeletionHere[] {
  if (ids === 'all') {
    const roots = links.links.filter(({ parent }) => parent === undefined);
    return [...roots, ...links.unreadable].map(({ id }) => planDeletion(id, links));
  }
  const wanted = new Set(ids);
  const rootOf = (id: string) => links.links.find((link) => link.id === id)?.root ?? id;
  return [...wanted]
    .filter((id) => rootOf(id) === id || !wanted.has(rootOf(id)))
    .map((id) => planDeletion(id, links));
}

function planDeletion(id: string, { links, unreadable }: Links): DeletionHere {
  const link = links.find((candidate) => candidate.id === id);
  const exists = link ?? unreadable.find((other) => other.id === id);
  if (!exists && !(isId(id) && isLeft(serviceUnit(id)))) {
    return { id, family: [], left: [], failure: new NoSuchLink(`no link "${id}": see wormhole list`) };
  }
  if (link?.parent !== undefined) {
    const message = `link "${id}" is a part of link "${link.root}": wormhole delete ${link.root}`;
    return { id, family: [], left: [], failure: new IsChild(message) };
  }
  const parts = farPartsOf(links.filter(({ root }) => root === id)).map(deletionOf);
  return { id, family: familyOf(id, links), left: [], parts };
}

/** Whether a unit file of Wormhole's is left of a link that is gone. */
function isLeft(unit: string): boolean {
  return readUnitFile(unit) !== undefined && foreignUnit(unit) === undefined;
}

/** Outside the lock: the other machine may need ours for its own part of the work. */
async function deleteThere(deletion: DeletionHere, tell: boolean): Promise<void> {
  const { id, parts = [], held, failure } = deletion;
  if (failure) return;
  held?.release();
  for (const part of tell ? parts : []) {
    const { carryOutDeletion } = await import('./remote/carry-out-deletion.js');
    const reason = await carryOutDeletion(part);
    if (reason !== undefined)
      deletion.left.push(
        `link "${id}" is deleted here; its part on machine ${part.peer} is deleted as soon as that machine can be told: ${reason}`,
      );
  }
}
