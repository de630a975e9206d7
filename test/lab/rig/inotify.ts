import { readFileSync, writeFileSync } from 'node:fs';

const LIMIT = '/proc/sys/fs/inotify/max_user_instances';

/** What several hosts need at once: each has some thirty instances, and the root of all of them is one user. */
const NEEDED = 1024;

/**
 * Raises the number of inotify instances that root may have (inotify(7)), whose default is 128. Without, the path units of the
 * fourth or fifth host fail at its boot.
 */
export function allowInotifyInstances(): void {
  if (Number(readFileSync(LIMIT, 'utf8')) < NEEDED) writeFileSync(LIMIT, `${NEEDED}`);
}
