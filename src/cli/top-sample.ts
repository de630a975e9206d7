import type { Command } from 'commander';
import { readListings } from './listings.js';
import type { Sample } from './top-rates.js';
import type { Column } from './top-text.js';

/** What `wormhole top` takes. `interval` is in seconds. */
export interface TopOptions {
  interval: number;
  sort: Column;
  once?: boolean;
  count?: number;
  json?: boolean;
}

/** Reads the counters and states of all links. `onFailure` as for {@link readListings}. */
export async function takeSample(
  command: Command,
  onFailure?: (line: string) => void,
): Promise<{ sample: Sample; several: boolean }> {
  const { listings, several } = await readListings(command, onFailure);
  return { sample: { at: performance.now(), listings }, several };
}
