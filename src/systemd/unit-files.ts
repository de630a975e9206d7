import { existsSync, lstatSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { isTemporary, makeDirectory, readIfExists, syncDirectory, writeAtomically } from '../system/files.js';
import { writeTogether } from '../system/write-together.js';

/** Where an administrator's unit files live (systemd.unit(5)), and so where links are written. */
export const UNIT_DIR = '/etc/systemd/system';

/** Where the symlinks of enabled tunnels are, systemd.unit(5). */
const TUNNEL_WANTS = join(UNIT_DIR, 'multi-user.target.wants');

/** The other directories in which systemd looks for units, and keeps those that programs have made (systemd.unit(5)). */
const OTHER_DIRS = [
  '/run/systemd/transient',
  '/run/systemd/system',
  '/run/systemd/generator',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
];

/** What every unit file of Wormhole has: a section that systemd ignores; or the first line that those of an earlier version have. */
const MARK = /^\[X-Wormhole\]$|^# Written by wormhole, and removed by: /m;

/** There is a unit of that name which is not Wormhole's. */
export class ForeignUnit extends Error {
  constructor(path: string) {
    super(`${path} is not a unit of Wormhole's, and stays as it is: take another id`);
  }
}

/**
 * Writes a unit file, whole or not at all.
 *
 * @throws ForeignUnit when there is another one of that name; the system call's error, such as EROFS
 */
export function writeUnitFile(name: string, text: string): void {
  requireOwnName(name);
  replaceUnitFile(name, text);
}

/** As {@link writeUnitFile}, for many files. @throws ForeignUnit, before any is written */
export function writeUnitFiles(files: { name: string; text: string }[]): void {
  for (const { name } of files) requireOwnName(name);
  writeTogether(files.map(({ name, text }) => ({ path: join(UNIT_DIR, name), text })));
}

/** As {@link writeUnitFile}, also over a file or symlink that is not Wormhole's. */
export function replaceUnitFile(name: string, text: string): void {
  writeAtomically(join(UNIT_DIR, name), text);
}

/** Makes sure that there is no unit of that name which is not Wormhole's. @throws ForeignUnit */
export function requireOwnName(name: string): void {
  const foreign = foreignUnit(name);
  if (foreign !== undefined) throw new ForeignUnit(foreign);
}

/**
 * The path of a unit that is not Wormhole's: a file without its mark, a symlink, or a file in another directory, which one of ours
 * would replace. Undefined when there is none.
 */
export function foreignUnit(name: string): string | undefined {
  const path = join(UNIT_DIR, name);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found) return found.isFile() && MARK.test(readFileSync(path, 'utf8')) ? undefined : path;
  return OTHER_DIRS.map((directory) => join(directory, name)).find(
    (other) => lstatSync(other, { throwIfNoEntry: false }) !== undefined,
  );
}

/** The text of a unit file; undefined when there is none of that name. */
export function readUnitFile(name: string): string | undefined {
  return readIfExists(join(UNIT_DIR, name));
}

/** Removes unit files; one that does not exist is fine, and one that is not Wormhole's stays. */
export function removeUnitFiles(names: string[]): void {
  if (names.length === 0) return;
  for (const name of names)
    if (foreignUnit(name) === undefined) rmSync(join(UNIT_DIR, name), { force: true });
  syncDirectory(UNIT_DIR);
}

/**
 * Removes the symlinks by which other units want or require units, wherever they are below {@link UNIT_DIR}, as
 * `systemctl disable` would. systemd itself reads every symlink there several times for that.
 */
export function unlinkUnitFiles(names: string[]): void {
  if (names.length === 0) return;
  for (const directory of readdirSync(UNIT_DIR).filter((name) => /\.(?:wants|requires)$/.test(name))) {
    const path = join(UNIT_DIR, directory);
    const linked = new Set(readdirSync(path));
    const found = names.filter((name) => linked.has(name));
    for (const name of found) rmSync(join(path, name), { force: true });
    if (found.length > 0) syncDirectory(path);
  }
}

/** The names of all unit files that begin with `prefix`, without symlinks and drop-in directories, sorted. */
export function unitFileNames(prefix: string): string[] {
  return readdirSync(UNIT_DIR, { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.startsWith(prefix))
    .map((entry) => entry.name)
    .sort();
}

/**
 * Enables units for the targets that WantedBy= and RequiredBy= in their files name, as `systemctl enable` would. systemd itself is not asked: since
 * version 255 it says of every unit of the machine that it needs a daemon-reload, from an EnableUnitFiles() call on until the next one.
 */
export function linkUnitFiles(names: string[]): void {
  const directories = new Set<string>();
  for (const name of names)
    for (const [, kind, targets = ''] of (readUnitFile(name) ?? '').matchAll(/^(Wanted|Required)By=(.*)$/gm))
      for (const target of targets.split(/\s+/).filter((word) => word !== ''))
        directories.add(link(name, join(UNIT_DIR, `${target}.${kind === 'Wanted' ? 'wants' : 'requires'}`)));
  for (const directory of directories) syncDirectory(directory);
}

/** Enables the unit of a tunnel: the symlink may exist before the file does, so that no file is ever without it. */
export function linkTunnelUnit(name: string): void {
  link(name, TUNNEL_WANTS);
}

/** Makes a symlink to a unit file in a directory, unless there is one. Returns the directory. */
function link(name: string, directory: string): string {
  makeDirectory(directory);
  try {
    symlinkSync(join(UNIT_DIR, name), join(directory, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return directory;
}

/** Removes the symlinks of {@link linkTunnelUnit} whose names begin with `prefix`, and whose files do not exist. */
export function removeDanglingLinks(prefix: string): void {
  if (!existsSync(TUNNEL_WANTS)) return;
  for (const name of readdirSync(TUNNEL_WANTS))
    if (name.startsWith(prefix) && !existsSync(join(UNIT_DIR, name)))
      rmSync(join(TUNNEL_WANTS, name), { force: true });
}

/**
 * Removes what killed calls of {@link writeUnitFile} have left of units for whose names `isOurs` holds. Call it only while no
 * other process can be writing one of those.
 */
export function removeTemporaryFiles(isOurs: (unit: string) => boolean): void {
  for (const name of readdirSync(UNIT_DIR)) {
    const unit = name.slice(1).replace(/\.[0-9]+\.new$/, '');
    if (isTemporary(name) && isOurs(unit)) rmSync(join(UNIT_DIR, name), { force: true });
  }
}
