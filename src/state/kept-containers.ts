import { readdirSync, rmSync } from 'node:fs';
import * as v from 'valibot';
import { isTemporary, makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { stateDirectory } from './directory.js';

/**
 * One file for each run, by its name: which container holds its data. No unit can tell when that one has been removed and
 * created again.
 */
const directory = () => `${stateDirectory()}/runs`;

const schema = v.object({ id: v.string(), lostAt: v.exactOptional(v.number()) });

/**
 * The container of a run that is kept with what it has written: its `id`. `lostAt` is when it was created in the place of one
 * that somebody had removed, ms since the epoch, until a person has acknowledged that.
 */
export type KeptContainer = v.InferOutput<typeof schema>;

/** The container that is known of a run; undefined when none was created yet. @throws Error when its file cannot be read */
export function readKeptContainer(run: string): KeptContainer | undefined {
  const text = readIfExists(fileOf(run));
  if (text === undefined) return undefined;
  const read = v.safeParse(schema, parse(text));
  if (read.success) return read.output;
  throw new Error(
    `${fileOf(run)} is not a record of a container: ${read.issues[0].message}; remove the file`,
  );
}

/** Records the container of a run. @throws the system call's error, such as ENOSPC */
export function recordKeptContainer(run: string, kept: KeptContainer): void {
  makeDirectory(directory());
  writeAtomically(fileOf(run), JSON.stringify(kept));
}

/** Forgets the container of a run, with what a killed process was writing. */
export function forgetKeptContainer(run: string): void {
  rmSync(fileOf(run), { force: true });
  for (const name of temporaryFiles())
    if (name.startsWith(`.${run}.`)) rmSync(`${directory()}/${name}`, { force: true });
}

/** Records that a person knows that the container of a run was lost. */
export function acknowledgeLoss(run: string): void {
  const kept = readKeptContainer(run);
  if (kept?.lostAt !== undefined) recordKeptContainer(run, { id: kept.id });
}

function fileOf(run: string): string {
  return `${directory()}/${run}`;
}

function temporaryFiles(): string[] {
  try {
    return readdirSync(directory()).filter(isTemporary);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
