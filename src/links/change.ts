import { rmSync } from 'node:fs';
import { bringBackRun, discardFormerRun, setAsideRun } from '../docker/set-aside.js';
import { type FormerLink, forgetFormerLink, formerLinks, recordFormerLink } from '../state/former-links.js';
import { linkRenderer, makeForwarderRoot } from '../state/installation.js';
import { forgetKeptContainer } from '../state/kept-containers.js';
import { readLinks } from '../state/links.js';
import { removeCounters } from '../state/traffic.js';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { JobError, type Systemd } from '../systemd/systemd.js';
import {
  foreignUnit,
  readUnitFile,
  removeUnitFiles,
  requireOwnName,
  unlinkUnitFiles,
  writeUnitFile,
} from '../systemd/unit-files.js';
import { type LinkChange, type LinkVersion, planChange } from '../units/change.js';
import { farFile, linkDirectory, netnsUnit, runUnit, serviceUnit, socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { renderLink } from '../units/render.js';
import { closeGate, openGate } from './containers/gates.js';
import { requireEngine } from './containers/require-engine.js';
import { requireLoaded, startUnits } from './install.js';
import { isStopped } from './is-stopped.js';

/** A change of a link, with its children the parent first, in place. */
export interface LinkReplacement {
  former: PlannedLink[];
  next: PlannedLink[];
  /** The id of the link whose tail is on another machine, if what its forwarder is told changes, and what tells it. */
  far?: { id: string; tell: () => void };
}

/**
 * Changes a link in place: what is the same in both versions goes on, its container, its listening socket, its sessions. When
 * anything fails, the former version is put back. Call it with the lock `links` held.
 *
 * @throws ForeignUnit, before anything is done; EngineDown; as startUnits
 */
export async function changeLink(replacement: LinkReplacement, systemd: Systemd): Promise<void> {
  const { former, next, far } = replacement;
  const versions = { former: await version(former), next: await version(next) };
  const change = planChange(versions.former, versions.next);
  const root = former[0];
  if (!root || (change.isEmpty && !far)) return;
  for (const name of change.added) requireOwnName(name);
  if (change.runs.length > 0) await requireEngine();
  const saved: FormerLink = {
    units: versions.former.files.flatMap(({ name }) => {
      const text = readUnitFile(name);
      return text === undefined ? [] : { name, text };
    }),
    ...{ added: change.added, close: change.close, restart: change.restart, runs: runsOfChange(change) },
    isStopped: await isStopped(root, systemd),
    ...(far && { far: withText(far.id) }),
  };
  recordFormerLink(root.id, saved);
  try {
    await apply(replacement, { change, saved, files: versions.next.files }, systemd);
  } catch (error) {
    await putBackOrExplain(root.id, saved, error as Error, systemd);
    throw error;
  }
  for (const run of saved.runs) await discardFormerRun(run);
  const kept = new Set(next.map(({ id }) => id));
  for (const { id } of former)
    if (!kept.has(id)) {
      await removeCounters([id]);
      rmSync(linkDirectory(id), { recursive: true, force: true });
    }
  forgetFormerLink(root.id);
}

/** Puts back the links whose changes were killed midway. Call it with the lock `links` held. @throws as changeLink */
export async function putBackKilledChanges(systemd: Systemd): Promise<void> {
  for (const [id, saved] of formerLinks()) {
    await putBack(id, saved, systemd);
    try {
      await openAgain(id, saved, systemd);
    } catch (error) {
      // It is forgotten already, so that a port which somebody has taken holds up one command and not every one.
      throw new Error(
        `link "${id}" is put back, which a killed command had half changed, and does not listen (${(error as Error).message}): wormhole start ${id}; then give this command again`,
      );
    }
  }
}

async function version(parts: PlannedLink[]): Promise<LinkVersion> {
  const renderer = await linkRenderer();
  return { parts, files: parts.flatMap((part) => renderLink(part, renderer)) };
}

function runsOfChange({ runs }: LinkChange): FormerLink['runs'] {
  return runs.map(({ name, link, place }) => {
    const said = place.kind === 'run' ? place.request.name : undefined;
    return { name, link, ...(said !== undefined && { said }) };
  });
}

function withText(id: string): NonNullable<FormerLink['far']> {
  const text = readIfExists(farFile(id));
  return { id, ...(text !== undefined && { text }) };
}

interface Application {
  change: LinkChange;
  saved: FormerLink;
  files: LinkVersion['files'];
}

async function apply(
  { next, far }: LinkReplacement,
  { change, saved, files }: Application,
  systemd: Systemd,
): Promise<void> {
  await whileClosed(saved, async () => {
    // Children first, as at creation: a link is not known before what it leads to.
    for (const { name, text } of files.toReversed()) writeUnitFile(name, text);
    await close(saved, systemd);
    for (const run of saved.runs) {
      await setAsideRun(run);
      forgetKeptContainer(run.name);
    }
    for (const unit of change.gone) await systemd.stop(unit);
    unlinkUnitFiles([...saved.units.map(({ name }) => name), ...files.map(({ name }) => name)]);
    removeUnitFiles(change.gone);
    await reload(next, systemd);
    far?.tell();
  });
  await open(next, saved, systemd);
  await requireLoaded(files, systemd);
}

/** Puts the units and containers of a link back as they were. What an earlier call has done already is fine. */
async function putBack(id: string, saved: FormerLink, systemd: Systemd): Promise<void> {
  if (saved.runs.length > 0) await requireEngine();
  await whileClosed(saved, async () => {
    for (const { name, text } of saved.units.toReversed()) writeUnitFile(name, text);
    await close(saved, systemd);
    for (const unit of saved.added) if (foreignUnit(unit) === undefined) await systemd.stop(unit);
    for (const run of saved.runs) {
      await bringBackRun(run);
      forgetKeptContainer(run.name);
    }
    unlinkUnitFiles([...saved.units.map(({ name }) => name), ...saved.added]);
    removeUnitFiles(saved.added);
    if (saved.far?.text !== undefined) {
      makeDirectory(linkDirectory(saved.far.id));
      writeAtomically(farFile(saved.far.id), saved.far.text);
    }
    await reload([], systemd);
  });
  forgetFormerLink(id);
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
    await putBack(id, saved, systemd);
    next = `wormhole start ${id} tries again`;
    await openAgain(id, saved, systemd);
  } catch (error) {
    throw new Error(
      `${reason.message}; putting link "${id}" back failed too (${(error as Error).message}), ${next}`,
    );
  }
}

/** Connections are held while the containers of a link are exchanged. */
async function whileClosed({ runs }: FormerLink, work: () => Promise<void>): Promise<void> {
  for (const { name } of runs) closeGate(name);
  try {
    await work();
  } finally {
    for (const { name } of runs) openGate(name);
  }
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
    const namespace = netnsUnit({ kind: 'run', name }) ?? '';
    await systemd.stop(namespace);
    for (const unit of [runUnit(name), namespace]) await systemd.resetFailed(unit);
  }
}

async function reload(parts: PlannedLink[], systemd: Systemd): Promise<void> {
  makeForwarderRoot();
  for (const { id } of parts) makeDirectory(linkDirectory(id));
  await systemd.reloadAll();
}

async function open(parts: PlannedLink[], saved: FormerLink, systemd: Systemd): Promise<void> {
  if (saved.isStopped) return;
  await startUnits(parts, systemd);
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
