import { chmodSync, closeSync, openSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import koffi from 'koffi';
import { syncDirectory, writeAtomically } from './files.js';

/** Up to this many files, each is waited for by itself. */
const FEW = 8;

/** A file and its whole text. */
export interface FileText {
  path: string;
  text: string;
}

/**
 * Writes files as {@link writeAtomically} writes each, with mode 0644. The disk is waited for once for many of them, so this takes
 * as long for hundreds as for some. When it fails, each file has its new text or its old one.
 *
 * @throws the system call's error; the temporary files are removed
 */
export function writeTogether(files: FileText[]): void {
  if (files.length <= FEW) {
    for (const { path, text } of files) writeAtomically(path, text);
    return;
  }
  const directories = [...new Set(files.map(({ path }) => dirname(path)))];
  const temporaryOf = ({ path }: FileText) => join(dirname(path), `.${basename(path)}.${process.pid}.new`);
  try {
    for (const file of files) writeTemporary(temporaryOf(file), file.text);
    for (const directory of oneOfEachFileSystem(directories)) syncFileSystem(directory);
    for (const file of files) renameSync(temporaryOf(file), file.path);
  } catch (error) {
    for (const file of files) rmSync(temporaryOf(file), { force: true });
    throw error;
  }
  if (directories.length <= FEW) for (const directory of directories) syncDirectory(directory);
  else for (const directory of oneOfEachFileSystem(directories)) syncFileSystem(directory);
}

function oneOfEachFileSystem(directories: string[]): string[] {
  return [...new Map(directories.map((directory) => [statSync(directory).dev, directory])).values()];
}

function writeTemporary(path: string, text: string): void {
  rmSync(path, { force: true });
  writeFileSync(path, text, { mode: 0o600, flag: 'wx' });
  // Whatever the umask is.
  chmodSync(path, 0o644);
}

let syncfs: ((fd: number) => number) | undefined;

/** Node has no name for syncfs(2). It tells of errors since Linux 5.8. */
function syncFileSystem(directory: string): void {
  syncfs ??= koffi.load('libc.so.6').func('int syncfs(int fd)') as (fd: number) => number;
  const fd = openSync(directory, 'r');
  try {
    if (syncfs(fd) !== 0)
      throw new Error(`what was written to ${directory} cannot be brought to the disk (syncfs)`);
  } finally {
    closeSync(fd);
  }
}
