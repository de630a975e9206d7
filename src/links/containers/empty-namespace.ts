import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { RUN_DIR } from '../../state/lock.js';
import { makeDirectory } from '../../system/files.js';

/** Holds an empty file for each instance of wormhole-netns@.service whose mount is an empty namespace. */
const EMPTY_DIR = `${RUN_DIR}/empty`;

/** Whether an instance's place was absent when it was mounted; the host's own namespace, which has no instance, never is. */
export function isEmptyNamespace(instance: string | undefined): boolean {
  return instance !== undefined && existsSync(`${EMPTY_DIR}/${instance}`);
}

/** Records that an instance's place is absent, and that its mount is an empty namespace. */
export function recordEmptyNamespace(instance: string): void {
  makeDirectory(EMPTY_DIR);
  writeFileSync(`${EMPTY_DIR}/${instance}`, '');
}

/** Forgets what {@link recordEmptyNamespace} has recorded. */
export function forgetEmptyNamespace(instance: string): void {
  rmSync(`${EMPTY_DIR}/${instance}`, { force: true });
}
