import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { givenUpFile } from '../units/names.js';

/** The pause after the first failure; each further failure doubles it. */
const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 30_000;

/** What the file of {@link givenUpFile} holds: the failures in a row, and the time of the last, in ms since the epoch. */
const failuresSchema = v.object({ count: v.number(), last: v.number() });
export type Failures = v.InferOutput<typeof failuresSchema>;

/** The failures to start what a run starts since it was started last; undefined when there are none. */
export function readFailures(name: string): Failures | undefined {
  const text = readIfExists(givenUpFile(name));
  return text === undefined ? undefined : v.parse(failuresSchema, JSON.parse(text));
}

/** Records another failure, beside the `former` ones in a row. Returns what happens next, for the journal. */
export function noteFailure(name: string, former: number): string {
  const file = givenUpFile(name);
  const failures: Failures = { count: former + 1, last: Date.now() };
  makeDirectory(dirname(file));
  writeAtomically(file, JSON.stringify(failures));
  return `Waiting clients are closed; the next connection tries again, at the earliest in ${pauseAfter(failures.count) / 1000} s.`;
}

/** Records that what a run starts has been started. */
export function forgetFailures(name: string): void {
  rmSync(givenUpFile(name), { force: true });
}

/** How long the next attempt still waits at a time, ms since the epoch. Never longer than the pause, though the clock be set back. */
export function pauseLeft({ count, last }: Failures, now: number): number {
  return Math.max(0, Math.min(pauseAfter(count), last + pauseAfter(count) - now));
}

/** How long the next attempt waits after so many failures in a row, ms. */
function pauseAfter(failures: number): number {
  return Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1));
}
