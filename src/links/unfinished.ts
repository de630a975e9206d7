import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { EngineDown } from '../docker/engine.js';
import { RUN_DIR } from '../state/lock.js';
import { makeDirectory } from '../system/files.js';
import type { Systemd } from '../systemd/systemd.js';
import { removeTemporaryFiles } from '../systemd/unit-files.js';
import { isTunnelUnit } from '../units/tunnel.js';
import { putBackKilledChanges } from './change.js';
import { remove } from './remove.js';

/** One empty file for the id of each link that is being created or deleted: what a killed command leaves for the next. */
const UNFINISHED_DIR = `${RUN_DIR}/unfinished`;

/**
 * Records that the links of these ids are being created or deleted. If that is killed midway, the next command that calls
 * {@link removeUnfinished} removes what exists of them.
 */
export function markUnfinished(ids: string[]): void {
  makeDirectory(UNFINISHED_DIR);
  for (const id of ids) writeFileSync(`${UNFINISHED_DIR}/${id}`, '');
}

/** Records that the links of these ids are created or deleted. */
export function markFinished(ids: string[]): void {
  for (const id of ids) rmSync(`${UNFINISHED_DIR}/${id}`, { force: true });
}

/** The ids of the links that are being created or deleted at this moment, or were when a command was killed. */
export function unfinishedIds(): string[] {
  return existsSync(UNFINISHED_DIR) ? readdirSync(UNFINISHED_DIR) : [];
}

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
    markFinished(ids);
  });
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
