import { hostname } from 'node:os';
import type { Command } from 'commander';
import type { Listing } from '../api/listing-schema.js';
import { printable } from '../text/printable.js';
import { machinesOf } from './machine.js';

/** The links of some machines; `several` says that more than one was to be asked. */
export interface Listings {
  several: boolean;
  listings: MachineListing[];
}

/** The links of a machine, which is named as -H names it, or by its host name without -H. */
export interface MachineListing {
  machine: string;
  listing: Listing;
}

/**
 * The links of the machines that -H names, or of this one, in that order. If there are several, one that does not answer is reported on
 * stderr, and the exit status is 1; the others are returned. With `onFailure`, that gets the line instead.
 *
 * @throws Failure, Unreachable, KeyUnusable when there is only one
 */
export async function readListings(
  command: Command,
  onFailure: (line: string) => void = printFailure,
): Promise<Listings> {
  const machines = await machinesOf(command);
  if (machines.length === 0) {
    const { listLinks } = await import('../links/list.js');
    return { several: false, listings: [{ machine: hostname(), listing: await listLinks() }] };
  }
  const { listAt } = await import('../api/client.js');
  const asked = machines.map(async ({ name, machine }) => {
    try {
      return [{ machine: name, listing: await listAt(machine) }];
    } catch (error) {
      if (machines.length === 1) throw error;
      onFailure(printable(`${name}: ${(error as Error).message}`));
      return [];
    }
  });
  return { several: machines.length > 1, listings: (await Promise.all(asked)).flat() };
}

function printFailure(line: string): void {
  process.stderr.write(`wormhole: ${line}\n`);
  process.exitCode = 1;
}
