import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import * as v from 'valibot';
import { makeDirectory, readIfExists } from '../system/files.js';
import { RUN_DIR } from './lock.js';

/**
 * One file for the id of each link that is being created or deleted: what a killed command leaves for the next. That of a link which is
 * being created holds the names of the volumes that were there before.
 */
const UNFINISHED_DIR = `${RUN_DIR}/unfinished`;

const volumesSchema = v.array(v.string());

/**
 * Records that the links of these ids are being created or deleted. If that is killed midway, the next command that calls
 * `removeUnfinished` removes what exists of them.
 *
 * @param volumes the names of the volumes that there are before the links are created, if volumes may be made for them
 */
export function markUnfinished(ids: string[], volumes?: string[]): void {
  makeDirectory(UNFINISHED_DIR);
  for (const id of ids) {
    const file = `${UNFINISHED_DIR}/${id}`;
    // What is half created and now being deleted has made the same volumes.
    if (volumes === undefined && existsSync(file)) continue;
    writeFileSync(file, volumes === undefined ? '' : JSON.stringify(volumes));
  }
}

/** Records that the links of these ids are created or deleted. */
export function markFinished(ids: string[]): void {
  for (const id of ids) rmSync(`${UNFINISHED_DIR}/${id}`, { force: true });
}

/** The ids of the links that are being created or deleted at this moment, or were when a command was killed. */
export function unfinishedIds(): string[] {
  return existsSync(UNFINISHED_DIR) ? readdirSync(UNFINISHED_DIR) : [];
}

/** The names of the volumes that there were before a link was half created; undefined when it is not known which ones are new. */
export function volumesBefore(id: string): string[] | undefined {
  const text = readIfExists(`${UNFINISHED_DIR}/${id}`);
  try {
    return v.parse(volumesSchema, JSON.parse(text ?? ''));
  } catch {
    // It is empty, or its writer was killed before its end.
    return undefined;
  }
}
