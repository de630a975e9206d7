import { closeSync, constants, fstatSync, openSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** The longest file that is read, bytes. */
export const MAX_BYTES = 1 << 20;

/**
 * Reads a file whose text acts as root.
 *
 * @throws Error when a user other than root can write or replace it, when it is none or too long, and the system call's
 */
export function readRootsFile(path: string): string {
  const real = realpathSync(path);
  for (const one of [path, real]) requireRootsAlone(dirname(one));
  // Not waiting for who writes to a FIFO.
  const fd = openSync(real, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new Error('this is not a regular file');
    if (stats.size > MAX_BYTES) throw new Error('this is longer than 1 MiB');
    const weakness = weaknessOf(stats);
    if (weakness !== undefined) throw new Error(`what is written here acts as root, and it ${weakness}`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** @throws Error when a user other than root can replace what is in a directory, or one above it */
export function requireRootsAlone(directory: string): void {
  for (let path = realpathSync(directory); ; path = dirname(path)) {
    const stats = statSync(path);
    // In a directory such as /tmp, only the owner of a file can replace it.
    const isSticky = (stats.mode & 0o1000) !== 0 && stats.uid === 0;
    const weakness = isSticky ? undefined : weaknessOf(stats);
    if (weakness !== undefined) throw new Error(`what is in ${path} acts as root, and it ${weakness}`);
    if (path === '/') return;
  }
}

function weaknessOf({ uid, gid, mode }: { uid: number; gid: number; mode: number }): string | undefined {
  if (uid !== 0) return `belongs to user ${uid}: chown root:root makes it root's`;
  if ((mode & 0o002) !== 0) return 'is writable by everybody: chmod o-w forbids that';
  // With an access control list, these bits are the most that any user named there may do (acl(5)).
  if ((mode & 0o020) !== 0) return `is writable by group ${gid}: chmod g-w forbids that`;
  return undefined;
}
