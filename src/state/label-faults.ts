import { readFileSync, rmSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { makeDirectory, writeAtomically } from '../system/files.js';
import type { LabelFault } from '../units/label-containers.js';
import { RUN_DIR } from './lock.js';

/** The faults of labels that the journal has told already, for `wormhole list`, and so that it does not tell them again. */
const FILE = `${RUN_DIR}/label-faults.json`;

/** Returns [] when there are none, and for users who may not know them. */
export function readLabelFaults(): LabelFault[] {
  try {
    const found: unknown = JSON.parse(readFileSync(FILE, 'utf8'));
    return Array.isArray(found) ? found.filter(isFault) : [];
  } catch {
    // A file that is missing or broken only has the faults told again.
    return [];
  }
}

/** Replaces the faults that {@link readLabelFaults} returns. @throws the error of a file that cannot be written */
export function writeLabelFaults(faults: LabelFault[]): void {
  if (isDeepStrictEqual(faults, readLabelFaults())) return;
  if (faults.length === 0) {
    rmSync(FILE, { force: true });
    return;
  }
  makeDirectory(RUN_DIR);
  writeAtomically(FILE, JSON.stringify(faults), { mode: 0o600 });
}

/** A fault as a line for people. */
export function describeLabelFault({ container, label, message }: LabelFault): string {
  return `container "${container}", label "${label}": ${message}`;
}

function isFault(one: unknown): one is LabelFault {
  const fields = one as Partial<LabelFault> | null;
  return ['container', 'label', 'message'].every(
    (name) => typeof fields?.[name as keyof LabelFault] === 'string',
  );
}
