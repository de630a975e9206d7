import { closeSync, constants, fstatSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { PlaceId } from '../../recipe/link.js';
import { makeDirectory, writeAtomically } from '../../system/files.js';
import { resolverDirectory } from '../../units/names.js';
import type { Namespace } from './namespace.js';

/** The longest file that is copied, bytes. */
const LONGEST = 64 * 1024;

/**
 * Copies the resolv.conf and the hosts of a network namespace to where the services see them that look names up in it, at the time when
 * it is joined. Those of a container are written by Docker outside of it, where a symbolic link of the container's cannot be; on a network
 * of the user's they name Docker's own DNS server, 127.0.0.11, which answers in that namespace. Those of a named namespace are in
 * /etc/netns (ip-netns(8)).
 */
export function copyResolverFiles(place: PlaceId, { resolvConf, hosts }: Namespace): void {
  const directory = resolverDirectory(place);
  if (directory === undefined) return;
  rmSync(directory, { recursive: true, force: true });
  for (const [name, path] of Object.entries({ 'resolv.conf': resolvConf, hosts })) {
    const text = path === undefined ? undefined : readShort(path);
    if (text === undefined) continue;
    makeDirectory(directory);
    // Services of other users read it, whatever the umask is.
    writeAtomically(join(directory, name), text);
  }
}

/** Removes what {@link copyResolverFiles} has copied. */
export function removeResolverFiles(place: PlaceId): void {
  const directory = resolverDirectory(place);
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
}

/** The beginning of a file, which a program in the container can write, and make as long as it likes. */
function readShort(path: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(fd).isFile()) return undefined;
    const bytes = Buffer.alloc(LONGEST);
    let size = 0;
    for (let read = -1; read !== 0 && size < LONGEST; size += read)
      read = readSync(fd, bytes, size, LONGEST - size, size);
    return bytes.toString('utf8', 0, size);
  } catch (error) {
    // A namespace need not have its own.
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
