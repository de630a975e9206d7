import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

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
