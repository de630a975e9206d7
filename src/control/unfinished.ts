import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { EngineDown } from '../docker/engine.js';
import type { Systemd } from '../systemd/systemd.js';
import { removeTemporaryFiles } from '../systemd/unit-files.js';
import { RUN_DIR } from './lock.js';
import { takeAway } from './take-away.js';

/** One empty file for each id that is being made or taken away: what a killed command leaves for the next one. */
const UNFINISHED_DIR = `${RUN_DIR}/unfinished`;

/**
 * Runs `work`, which makes or takes away the links of those ids. Is it killed halfway, the next command that calls
 * {@link takeBackUnfinished} takes away what there is of them.
 */
export async function unfinishedDuring<T>(ids: string[], work: () => Promise<T>): Promise<T> {
  mkdirSync(UNFINISHED_DIR, { recursive: true, mode: 0o755 });
  for (const id of ids) writeFileSync(`${UNFINISHED_DIR}/${id}`, '');
  const result = await work();
  for (const id of ids) rmSync(`${UNFINISHED_DIR}/${id}`, { force: true });
  return result;
}

/** The ids of the links that are being made or taken away at this moment, or were when somebody was killed. */
export function unfinishedIds(): string[] {
  return existsSync(UNFINISHED_DIR) ? readdirSync(UNFINISHED_DIR) : [];
}

/**
 * Takes away the links that killed commands left half made, or half taken away. Only to be called with the lock held:
 * then whoever began is gone.
 */
export async function takeBackUnfinished(systemd: Systemd): Promise<void> {
  removeTemporaryFiles('links');
  const ids = unfinishedIds();
  if (ids.length === 0) return;
  try {
    await takeAway(ids, systemd);
  } catch (error) {
    // It waits for an engine to take containers away with; who asks for something else need not.
    if (error instanceof EngineDown) return;
    throw error;
  }
  for (const id of ids) rmSync(`${UNFINISHED_DIR}/${id}`, { force: true });
}
