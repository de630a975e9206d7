import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isTemporary, makeDirectory, readIfExists } from '../system/files.js';
import { writeTogether } from '../system/write-together.js';
import { UNIT_DIR } from './unit-files.js';

/** Where administrators' drop-ins are, by `systemctl edit` and `systemctl set-property`, also with --runtime: systemd.unit(5). */
const DIRECTORIES = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/etc/systemd/system.control',
  '/run/systemd/system.control',
];

/** Removes the drop-ins of units, which would apply to later units of these names. Returns their paths. */
export function removeDropIns(units: string[]): string[] {
  return units.flatMap((unit) => DIRECTORIES.flatMap((directory) => removeAll(join(directory, `${unit}.d`))));
}

function removeAll(directory: string): string[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  rmSync(directory, { recursive: true });
  return names.map((name) => join(directory, name));
}

/** The text of one drop-in of an administrator; undefined when there is none. */
export function readDropIn(unit: string, name: string): string | undefined {
  return readIfExists(join(UNIT_DIR, `${unit}.d`, name));
}

/** Writes drop-ins of one name, each whole or not at all. */
export function writeDropIns(dropIns: { unit: string; text: string }[], name: string): void {
  for (const { unit } of dropIns) makeDirectory(join(UNIT_DIR, `${unit}.d`));
  writeTogether(dropIns.map(({ unit, text }) => ({ path: join(UNIT_DIR, `${unit}.d`, name), text })));
}

/** Removes a drop-in, and its directory if that is empty then. It need not exist. */
export function removeDropIn(unit: string, name: string): void {
  const directory = join(UNIT_DIR, `${unit}.d`);
  if (!existsSync(directory)) return;
  for (const entry of readdirSync(directory))
    if (entry === name || (isTemporary(entry) && entry.startsWith(`.${name}.`)))
      rmSync(join(directory, entry), { force: true });
  if (readdirSync(directory).length === 0) rmdirSync(directory);
}

/** The names of the drop-ins that an administrator has made of a unit, without those called `name`. */
export function otherDropIns(unit: string, name: string): string[] {
  return DIRECTORIES.flatMap((directory) => {
    const path = join(directory, `${unit}.d`);
    if (!existsSync(path)) return [];
    return readdirSync(path)
      .filter((entry) => entry.endsWith('.conf') && entry !== name)
      .map((entry) => join(path, entry));
  });
}
