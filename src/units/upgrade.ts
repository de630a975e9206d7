import { isEdited } from './digest.js';

/**
 * What becomes of a unit file when a program renders it that may be of another version than the one which wrote it:
 *
 * - `keep`: it says the same already;
 * - `write`: nobody has edited it, or it is gone;
 * - `replace`: nobody can tell whether it has been edited, so a copy is kept;
 * - `leave`: it has been edited.
 */
export type UnitUpgrade = 'keep' | 'write' | 'replace' | 'leave';

/** The unit file as it is, undefined when there is none, and as this version renders it. */
export interface UnitVersions {
  current: string | undefined;
  rendered: string;
  /** Whether the file is not Wormhole's: a symlink, or a file without its mark. */
  isForeign: boolean;
  /** Replace edited files too. */
  force: boolean;
}

/** Decides what becomes of a unit file at an upgrade. */
export function planUpgrade({ current, rendered, isForeign, force }: UnitVersions): UnitUpgrade {
  if (current === rendered) return 'keep';
  if (current === undefined) return 'write';
  const edited = isForeign || isEdited(current);
  if (edited === false) return 'write';
  if (edited === undefined || force) return 'replace';
  return 'leave';
}
