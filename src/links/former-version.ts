import { rmSync } from 'node:fs';
import { EngineDown } from '../docker/engine.js';
import { discardFormerRun } from '../docker/set-aside.js';
import { type FormerLink, forgetFormerLink, formerLinks, recordFormerLinks } from '../state/former-links.js';
import { readLinks } from '../state/links.js';
import { removeCounters } from '../state/traffic.js';
import { unfinishedIds } from '../state/unfinished.js';
import { linkDirectory } from '../units/names.js';
import { requireEngine } from './containers/require-engine.js';

/** A link that is changed, by its id, and what it was before; its `removed` is there. */
type ChangedLink = [id: string, former: FormerLink];

/**
 * Removes what is left of links as they were before they were changed, of each one by itself.
 *
 * @returns what stays for now, a line each, for people
 */
export async function removeFormerVersions(links: ChangedLink[]): Promise<string[]> {
  try {
    // From here on, a kill does not have them put back.
    recordFormerLinks(links);
  } catch {
    // To forget them does that too, and needs no space on the disk.
    for (const [id] of links) forgetFormerLink(id);
  }
  const left: string[] = [];
  for (const [id, former] of links) {
    try {
      await removeFormerVersion(id, former);
    } catch (error) {
      left.push(
        `link "${id}" is changed; its former container is not removed yet (${(error as Error).message}): the next command that changes links tries again`,
      );
    }
  }
  return left;
}

/** Removes what {@link removeFormerVersions} has left of a link. @throws EngineDown, or the engine's own error */
export async function removeLeftFormerVersion(id: string): Promise<void> {
  const former = formerLinks().get(id);
  if (former?.removed !== undefined) await removeFormerVersion(id, former);
}

/** As {@link removeLeftFormerVersion}, but what cannot be removed is told on stderr, and keeps no command from its work. */
export async function tryToRemoveFormerVersion(id: string): Promise<void> {
  try {
    await removeLeftFormerVersion(id);
  } catch (error) {
    // It waits for an engine.
    if (error instanceof EngineDown) return;
    process.stderr.write(
      `wormhole: link "${id}" was changed; its former container cannot be removed: ${(error as Error).message}\n`,
    );
  }
}

/**
 * Makes sure that a link is no longer half changed by a command that was killed. Call it when such links have been put back.
 *
 * @throws EngineDown when it could not be put back without the engine, Error when that failed otherwise
 */
export async function requireWhole(id: string): Promise<void> {
  const former = formerLinks().get(id);
  if (former === undefined || former.removed !== undefined) return;
  await requireEngine();
  throw new Error(
    `link "${id}" is half changed by a command that was killed, and could not be put back: give this command again`,
  );
}

/**
 * Makes sure that a link is whole, and not half created or half deleted by a command that was killed or has failed. Call it when such
 * links have been removed.
 *
 * @throws as requireWhole
 */
export async function requireFinished(id: string): Promise<void> {
  await requireWhole(id);
  if (!unfinishedIds().includes(id)) return;
  await requireEngine();
  throw new Error(
    `link "${id}" is half created or half deleted by a command that was killed or has failed, and could not be removed: wormhole delete ${id}`,
  );
}

async function removeFormerVersion(id: string, { runs, removed = [] }: FormerLink): Promise<void> {
  // Another link may have the id of one of its children by now.
  const existing = new Set(removed.length === 0 ? [] : readLinks().links.map((link) => link.id));
  const gone = removed.filter((child) => !existing.has(child));
  if (gone.length > 0) await removeCounters(gone);
  for (const child of gone) rmSync(linkDirectory(child), { recursive: true, force: true });
  if (runs.length > 0) await requireEngine();
  for (const run of runs) await discardFormerRun(run);
  forgetFormerLink(id);
}
