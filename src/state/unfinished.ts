import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { makeDirectory } from '../system/files.js';
import { RUN_DIR } from './lock.js';

/** One empty file for the id of each link that is being created or deleted: what a killed command leaves for the next. */
const UNFINISHED_DIR = `${RUN_DIR}/unfinished`;

/**
 * Records that the links of these ids are being created or deleted. If that is killed midway, the next command that calls
 * `removeUnfinished` removes what exists of them.
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
