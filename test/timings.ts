import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory } from './lab/rig/cache.ts';
import type { TestTime } from './timed/uvu.ts';

const path = join(cacheDirectory, 'seconds.json');

/** What each job took when it was last run on this machine, in seconds; empty when none ever was. */
export function lastSeconds(): Record<string, number> {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return {};
  }
}

/** Keeps what jobs took, for the next run; says so when it cannot. */
export function keepSeconds(seconds: Record<string, number>): void {
  try {
    mkdirSync(cacheDirectory, { recursive: true });
    const draft = `${path}.${process.pid}`;
    writeFileSync(draft, JSON.stringify({ ...lastSeconds(), ...seconds }, null, 1));
    renameSync(draft, path);
  } catch (error) {
    console.error(`the times of this run are not kept: ${(error as Error).message}`);
  }
}

/** The longest of some tests, one a line. */
export function slowest(times: (TestTime & { job: string })[], count: number): string {
  return times
    .toSorted((one, other) => other.seconds - one.seconds)
    .slice(0, count)
    .map(({ job, test, seconds }) => `${seconds.toFixed(1).padStart(7)} s  ${job}: ${test}`)
    .join('\n');
}
