import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync } from 'node:fs';
import { MAX_BYTES, readRootsFile } from './roots-file.js';

/**
 * Reads a file in a directory where others than root may write, because what it says does not act as root. They can have this process, which
 * may read everything, neither read another file nor wait: a FIFO is refused, and so is a symbolic link unless root alone could
 * have made it.
 *
 * @returns undefined when there is none
 * @throws Error in one line, which begins with the path
 */
export function readDataFile(path: string): string | undefined {
  try {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return undefined;
    return found.isSymbolicLink() ? readThroughLink(path) : readItself(path);
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`);
  }
}

function readThroughLink(path: string): string {
  try {
    return readRootsFile(path);
  } catch (error) {
    throw new Error(`it is a symbolic link, and ${(error as Error).message}`);
  }
}

function readItself(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new Error('it is not a regular file');
    if (stats.size > MAX_BYTES) throw new Error('it is longer than 1 MiB');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}
