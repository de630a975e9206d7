import { readFileSync, rmSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import { makeDirectory, writeAtomically } from '../system/files.js';
import type { LabelFault } from '../units/label-containers.js';
import { RUN_DIR } from './lock.js';

/** The faults of labels that the journal has told already, for `wormhole list`, and so that it does not tell them again. */
const FILE = `${RUN_DIR}/label-faults.json`;

const savedFaults = v.array(v.object({ container: v.string(), label: v.string(), message: v.string() }));

/** Returns [] when there are none, and for users who may not know them. */
export function readLabelFaults(): LabelFault[] {
  try {
    const read = v.safeParse(savedFaults, JSON.parse(readFileSync(FILE, 'utf8')));
    if (read.success) return read.output;
  } catch {
    // It is missing or broken.
  }
  // Then the faults are reported once more.
  return [];
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
