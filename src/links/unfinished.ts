import { EngineDown } from '../docker/engine.js';
import { hasFormerLinks } from '../state/former-links.js';
import { familyOf, readLinks } from '../state/links.js';
import { withLock } from '../state/lock.js';
import { markFinished, unfinishedIds, volumesBefore } from '../state/unfinished.js';
import { type Systemd, withSystemd } from '../systemd/systemd.js';
import { removeTemporaryFiles } from '../systemd/unit-files.js';
import { isTunnelUnit } from '../units/tunnel.js';
import { stopUnneededNamespaces } from './containers/unneeded-namespace.js';
import { removeNewVolumes } from './containers/volumes.js';
import { putBackKilledChanges } from './put-back.js';
import { forgetUnits, type RemovedUnits, removeUnits } from './remove.js';

/** Is told why links that killed commands have left, with the parent last, could not be removed or put back. Not that they wait for an engine. */
export type TellLeft = (ids: string[], error: Error) => void;

/**
 * Removes the links that killed commands have left half created or half deleted, and puts back those that were half changed. Call it only with the lock `links` held: then
 * no command is at work on them.
 *
 * One for which that fails stays marked for the next command, and keeps no other link from being changed: see {@link requireFinished}.
 *
 * @returns the names of the volumes that had been made for the half created ones, and are removed
 */
export async function removeUnfinished(systemd: Systemd, tell: TellLeft = tellOnStderr): Promise<string[]> {
  await putBackUnfinished(systemd, tell);
  const families = unfinishedFamilies();
  if (families.length === 0) return [];
  const removed: RemovedUnits[] = [];
  const done: string[] = [];
  const volumes: string[] = [];
  for (const family of families) {
    try {
      removed.push(await removeUnits(family, systemd));
      for (const id of family) {
        const before = volumesBefore(id);
        if (before) volumes.push(...(await removeNewVolumes([id], before)));
      }
      done.push(...family);
    } catch (error) {
      // It waits for an engine that can remove its containers.
      if (!(error instanceof EngineDown)) tell(family, error as Error);
    }
  }
  const units = removed.flatMap((one) => one.units);
  const namespaces = [...new Set(removed.flatMap((one) => one.namespaces))];
  try {
    await forgetUnits({ units, namespaces }, systemd);
    // What a killed removal has removed no longer tells which namespaces it needed.
    await stopUnneededNamespaces(systemd);
  } catch (error) {
    tell(done, error as Error);
    return volumes;
  }
  markFinished(done);
  return volumes;
}

/**
 * Finishes what killed commands have left, as {@link removeUnfinished} does, if there is anything: for those who look which links
 * exist before they hold the lock.
 */
export async function finishKilled(): Promise<void> {
  if (unfinishedIds().length > 0 || hasFormerLinks()) await finishAll();
}

/** Waits for commands that are at work on links, and finishes what killed ones have left. */
export async function finishAll(): Promise<void> {
  await withSystemd((systemd) => withLock('links', () => removeUnfinished(systemd)));
}

/**
 * Puts back the links that killed commands have half changed; see {@link requireWhole}. Call it as {@link removeUnfinished}.
 *
 * @throws as putBackKilledChanges
 */
export async function putBackUnfinished(systemd: Systemd, tell: TellLeft = tellOnStderr): Promise<void> {
  removeTemporaryFiles((unit) => unit.startsWith('wormhole-') && !isTunnelUnit(unit));
  // It waits for an engine that can exchange its containers.
  for (const [id, error] of await putBackKilledChanges(systemd))
    if (!(error instanceof EngineDown)) tell([id], error);
}

/** The links that are half created or half deleted, each with its children before their parents. */
function unfinishedFamilies(): string[][] {
  const ids = unfinishedIds();
  if (ids.length === 0) return [];
  const { links } = readLinks();
  const roots = new Set(ids.map((id) => links.find((link) => link.id === id)?.root ?? id));
  const isUnfinished = (root: string) => ids.includes(root);
  // A link is marked part by part. One that is marked in part is not deleted yet, or created already.
  const whole = [...roots].filter((root) => !isUnfinished(root));
  markFinished(whole.flatMap((root) => familyOf(root, links)));
  return [...roots].filter(isUnfinished).map((root) => familyOf(root, links));
}

/** As {@link TellLeft}, for people and for the journal. */
export function tellOnStderr(ids: string[], { message }: Error): void {
  process.stderr.write(
    `wormhole: what a killed or failed command has left of link "${ids.at(-1)}" cannot be cleaned up (${message}): the next command that changes links tries again\n`,
  );
}
