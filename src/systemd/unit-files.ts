import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

/** Where an administrator's unit files live (systemd.unit(5)), and so where links are written. */
export const UNIT_DIR = '/etc/systemd/system';

/** A temporary name holds no unit suffix, so systemd never reads one. */
const TEMPORARY = {
  links: /^\.wormhole-(?!tunnel@).*\.[0-9]+\.new$/,
  tunnels: /^\.wormhole-tunnel@.*\.[0-9]+\.new$/,
};

/**
 * Writes a unit file so that it is there whole or not at all, also after a power cut: temporary file, fsync,
 * rename, fsync of the directory.
 *
 * @param name the unit's name, such as `wormhole-80.socket`
 * @throws the system call's error, such as EROFS; the temporary file is removed
 */
export function writeUnitFile(name: string, text: string): void {
  const temporary = join(UNIT_DIR, `.${name}.${process.pid}.new`);
  try {
    const fd = openSync(temporary, 'w', 0o644);
    try {
      writeSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, join(UNIT_DIR, name));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory();
}

/** What an enabled unit of multi-user.target has its symlink in, systemd.unit(5). */
const WANTS = join(UNIT_DIR, 'multi-user.target.wants');

/**
 * Enables a unit for multi-user.target without asking systemd, as `systemctl enable` would: the symlink may be there
 * before the file is, so that nobody ever finds one that is written and not enabled.
 */
export function linkUnitFile(name: string): void {
  mkdirSync(WANTS, { recursive: true, mode: 0o755 });
  try {
    symlinkSync(join(UNIT_DIR, name), join(WANTS, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Removes the symlinks of {@link linkUnitFile} whose names begin with `prefix`, and whose files are not there. */
export function removeDanglingLinks(prefix: string): void {
  if (!existsSync(WANTS)) return;
  for (const name of readdirSync(WANTS))
    if (name.startsWith(prefix) && !existsSync(join(UNIT_DIR, name)))
      rmSync(join(WANTS, name), { force: true });
}

/** Removes unit files; one that is not there is fine. */
export function removeUnitFiles(names: string[]): void {
  for (const name of names) rmSync(join(UNIT_DIR, name), { force: true });
  syncDirectory();
}

/** The names of all unit files that begin with `prefix`, symlinks and drop-in directories left out. */
export function unitFileNames(prefix: string): string[] {
  return readdirSync(UNIT_DIR, { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.startsWith(prefix))
    .map((entry) => entry.name)
    .sort();
}

/** The text of a unit file, or undefined when there is none of that name. */
export function readUnitFile(name: string): string | undefined {
  try {
    return readFileSync(join(UNIT_DIR, name), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Removes what a killed {@link writeUnitFile} of that kind left. Only to be called while no other one can be running. */
export function removeTemporaryFiles(kind: keyof typeof TEMPORARY): void {
  for (const name of readdirSync(UNIT_DIR))
    if (TEMPORARY[kind].test(name)) rmSync(join(UNIT_DIR, name), { force: true });
}

function syncDirectory(): void {
  const fd = openSync(UNIT_DIR, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
