import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** How a file is written atomically. */
export interface WriteOptions {
  /** Its mode, default 0644, whatever the umask is: others read what commands write. */
  mode?: number;
  /** Called with the open file before it has its name, for instance to lock it or to give it to a user. */
  prepare?: (fd: number) => void;
}

/** The text of a file; undefined when there is none. @throws the error of any other failure to read it */
export function readIfExists(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Whether there is a file, or a symbolic link to one that may not be there now: as on a file system that is mounted later, which does
 * not mean that somebody has removed it.
 *
 * @throws the system call's error when that cannot be told, such as EIO
 */
export function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/**
 * Writes a file so that it has the whole text or does not exist, also after a power cut: temporary file, fsync, rename,
 * fsync of the directory. The temporary file is in the same directory; {@link isTemporary} recognizes its name.
 *
 * @throws the system call's error, such as EROFS, with the path in its message; the temporary file is removed
 */
export function writeAtomically(path: string, text: string, options: WriteOptions = {}): void {
  closeSync(createAtomically(path, text, options));
}

/** As {@link writeAtomically}. Returns the open file, which the caller closes. */
export function createAtomically(path: string, text: string, options: WriteOptions = {}): number {
  return write(path, text, { ...options, publish: renameSync });
}

/**
 * As {@link writeAtomically}, unless the file exists already.
 *
 * @returns whether it did not
 */
export function createOnce(path: string, text: string, options: WriteOptions = {}): boolean {
  let isNew = true;
  const publish = (temporary: string) => {
    try {
      linkSync(temporary, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      isNew = false;
    }
    rmSync(temporary);
  };
  closeSync(write(path, text, { ...options, publish }));
  return isNew;
}

/** An error of a system call on a descriptor, whose message lacks the file that it is about. */
function namingFile(error: unknown, path: string): unknown {
  if (error instanceof Error && 'syscall' in error && !('path' in error)) error.message += ` '${path}'`;
  return error;
}

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Writes a temporary file, which `publish` gives its name. */
function write(
  path: string,
  text: string,
  { mode = 0o644, prepare, publish }: WriteOptions & { publish: (temporary: string, path: string) => void },
): number {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.new`);
  let fd: number | undefined;
  try {
    // In a directory of another user's, nothing that is there already is followed or written.
    rmSync(temporary, { force: true });
    fd = openSync(temporary, NEW_FILE, 0o600);
    fchmodSync(fd, mode);
    prepare?.(fd);
    // write(2) may take a part only, as a disk does that becomes full: this writes the rest, or throws.
    writeFileSync(fd, text);
    fsyncSync(fd);
    publish(temporary, path);
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    rmSync(temporary, { force: true });
    throw namingFile(error, path);
  }
  syncDirectory(dirname(path));
  return fd;
}

/** Creates a directory, and those above it that are missing, with mode 0755 whatever the umask is. It may exist. */
export function makeDirectory(path: string): void {
  // Not with `recursive`, which does not end where no directory can be made, as in /proc.
  try {
    makeOne(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error;
    makeDirectory(dirname(path));
    makeOne(path);
  }
}

function makeOne(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST' && statSync(path).isDirectory()) return;
    throw error;
  }
  chmodSync(path, 0o755);
}

/** Makes what has been created and removed in a directory outlive a power cut. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Whether a file is the temporary file of a {@link writeAtomically}: one that is running, or was killed. */
export function isTemporary(name: string): boolean {
  return /^\..+\.[0-9]+\.new$/.test(name);
}
