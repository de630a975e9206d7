import { EngineDown } from '../docker/engine.js';
import { hasFormerLinks } from '../state/former-links.js';
import { withLock } from '../state/lock.js';
import { markFinished, unfinishedIds } from '../state/unfinished.js';
import { type Systemd, withSystemd } from '../systemd/systemd.js';
import { removeTemporaryFiles } from '../systemd/unit-files.js';
import { isTunnelUnit } from '../units/tunnel.js';
import { stopUnneededNamespaces } from './containers/unneeded-namespace.js';
import { putBackKilledChanges } from './put-back.js';
import { remove } from './remove.js';

/**
 * Removes the links that killed commands have left half created or half deleted, and puts back those that were half changed. Call it only with the lock `links` held: then
 * no command is at work on them.
 */
export async function removeUnfinished(systemd: Systemd): Promise<void> {
  await putBackUnfinished(systemd);
  const ids = unfinishedIds();
  if (ids.length === 0) return;
  await unlessEngineDown(async () => {
    await remove(ids, systemd);
    // What a killed removal has removed no longer tells which namespaces it needed.
    await stopUnneededNamespaces(systemd);
    markFinished(ids);
  });
}

/**
 * Finishes what killed commands have left, as {@link removeUnfinished} does, if there is anything: for those who look which links
 * exist before they hold the lock.
 */
export async function finishKilled(): Promise<void> {
  if (unfinishedIds().length > 0 || hasFormerLinks()) await finishAll();
}

/** Waits for commands that are at work on links, and finishes what killed ones have left. */
export function finishAll(): Promise<void> {
  return withSystemd((systemd) => withLock('links', () => removeUnfinished(systemd)));
}

/** Puts back the links that killed commands have half changed; see {@link requireWhole}. Call it as {@link removeUnfinished}. */
export async function putBackUnfinished(systemd: Systemd): Promise<void> {
  removeTemporaryFiles((unit) => unit.startsWith('wormhole-') && !isTunnelUnit(unit));
  await unlessEngineDown(() => putBackKilledChanges(systemd));
}

/** Links wait for an engine that can exchange or remove their containers; commands that concern others do not. */
async function unlessEngineDown(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof EngineDown)) throw error;
  }
}
