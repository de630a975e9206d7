import { rmSync } from 'node:fs';
import { removeRun } from '../docker/remove-run.js';
import { bringBackRuns } from '../docker/set-aside.js';
import { type FormerLink, forgetFormerLink, formerLinks } from '../state/former-links.js';
import { forgetKeptContainer } from '../state/kept-containers.js';
import { readLinks } from '../state/links.js';
import { removeCounters } from '../state/traffic.js';
import { makeDirectory, writeAtomically } from '../system/files.js';
import type { Systemd } from '../systemd/systemd.js';
import {
  foreignUnit,
  readUnitFile,
  removeUnitFiles,
  unlinkUnitFiles,
  writeUnitFiles,
} from '../systemd/unit-files.js';
import { farFile, idOfUnit, linkDirectory } from '../units/names.js';
import { close, closeGates, open, openGates, reload, setDropIns, stopNamespaceOf } from './change-steps.js';
import { requireEngine } from './containers/require-engine.js';
import { tryToRemoveFormerVersion } from './former-version.js';

/**
 * Puts back the links whose changes were killed midway, and removes what is left of the former versions of those that are changed.
 * Call it with the lock `links` held.
 *
 * @returns why links could not be put back, by their ids: EngineDown, or the engine's own error, such as of a name that is taken. The next call tries again
 * @throws Error when one is put back, and does not listen. The next call does not try again
 */
export async function putBackKilledChanges(systemd: Systemd): Promise<Map<string, Error>> {
  const all = [...formerLinks()];
  for (const [id, { removed }] of all) if (removed !== undefined) await tryToRemoveFormerVersion(id);
  const killed = all.filter(([, { removed }]) => removed === undefined);
  if (killed.length === 0) return new Map();
  const left = await putBack(killed, systemd);
  const failures: string[] = [];
  for (const [id, saved] of killed) {
    if (left.has(id)) continue;
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
  return left;
}

/**
 * Puts a link back as it was before a change that failed for `reason`, and opens it.
 *
 * @throws an error with both reasons and what is to be done, if that fails too
 */
export async function putBackOrExplain(
  id: string,
  saved: FormerLink,
  reason: Error,
  systemd: Systemd,
): Promise<void> {
  let next = 'the next command that changes links tries again';
  try {
    const failure = (await putBack([[id, saved]], systemd)).get(id);
    if (failure) throw failure;
    next = `wormhole start ${id} tries again`;
    await openAgain(id, saved, systemd);
  } catch (error) {
    throw new Error(
      `${reason.message}; putting link "${id}" back failed too (${(error as Error).message}), ${next}`,
    );
  }
}

/**
 * Puts the units and containers of links back as they were. What an earlier call has done already is fine.
 *
 * @returns why links could not be put back, by their ids
 */
async function putBack(links: [string, FormerLink][], systemd: Systemd): Promise<Map<string, Error>> {
  const left = new Map<string, Error>();
  try {
    for (const [, saved] of links) closeGates(saved);
    for (const [id, saved] of links) {
      try {
        await putBackOne(saved, systemd);
      } catch (error) {
        left.set(id, error as Error);
      }
    }
    await reload([], systemd);
  } finally {
    for (const [, saved] of links) openGates(saved);
  }
  return left;
}

async function putBackOne(saved: FormerLink, systemd: Systemd): Promise<void> {
  const { runs, addedRuns = [] } = saved;
  if (runs.length > 0 || addedRuns.length > 0) await requireEngine();
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
  for (const run of addedRuns) {
    await stopNamespaceOf(run.name, systemd);
    await removeRun(run);
  }
  await bringBackRuns(runs);
  for (const { name } of [...runs, ...addedRuns]) forgetKeptContainer(name);
  unlinkUnitFiles([...saved.units.map(({ name }) => name), ...saved.added]);
  removeUnitFiles(saved.added);
  await removeStateOf(saved.added);
  if (saved.far?.text !== undefined) {
    makeDirectory(linkDirectory(saved.far.id));
    writeAtomically(farFile(saved.far.id), saved.far.text);
  }
}

/** Opens a link that is put back, and forgets what it was put back from. */
async function openAgain(id: string, saved: FormerLink, systemd: Systemd): Promise<void> {
  try {
    const parts = readLinks().links.filter(({ root }) => root === id);
    await open(parts, saved, systemd);
  } finally {
    // Not before: nothing else would have it listen, and be enabled, again.
    forgetFormerLink(id);
  }
}

/** Removes what links have had beside these units, which are removed. */
async function removeStateOf(units: string[]): Promise<void> {
  const ids = units.flatMap((unit) => (unit.endsWith('.socket') ? idOfUnit(unit) : undefined) ?? []);
  if (ids.length === 0) return;
  for (const id of ids) rmSync(linkDirectory(id), { recursive: true, force: true });
  await removeCounters(ids);
}
