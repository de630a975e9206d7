import type { Command } from 'commander';
import type { Machine } from '../api/connect.js';
import { Failure } from '../api/failure.js';
import type { Listing } from '../api/schema.js';
import type { Deletion } from '../links/delete.js';
import { printable } from '../text/printable.js';
import { fail, requireRoot, UsageError } from './fail.js';
import { machineOf } from './machine.js';

/** Adds `wormhole delete`. */
export function addDelete(program: Command): void {
  program
    .command('delete')
    .description('delete links and what hangs on them')
    .option('--all', 'every link of the machine')
    .argument('[id...]', 'the ids that create printed, and list shows')
    .action(async (ids: string[], { all = false }: { all?: boolean }, command: Command) => {
      if (all && ids.length > 0) throw new UsageError('give ids or --all, not both');
      if (!all && ids.length === 0) throw new UsageError('which link? wormhole delete ID, or --all');
      const wanted = all ? 'all' : ids;
      const machine = await machineOf(command);
      if (!machine) requireRoot(`delete ${all ? '--all' : ids.join(' ')}`);
      report(machine ? await deleteThere(machine, wanted) : await deleteHere(wanted));
    });
}

async function deleteHere(ids: string[] | 'all'): Promise<Deletion[]> {
  const { deleteLinks } = await import('../links/delete.js');
  return deleteLinks(ids);
}

async function deleteThere(machine: Machine, ids: string[] | 'all'): Promise<Deletion[]> {
  const { deleteAt, listAt } = await import('../api/client.js');
  const deletions: Deletion[] = [];
  for (const id of ids === 'all' ? rootsIn(await listAt(machine)) : new Set(ids)) {
    try {
      await deleteAt(machine, id);
    } catch (error) {
      // What the machine says of one link does not hold for the next one.
      if (!(error instanceof Failure)) throw error;
      deletions.push({ id, failure: error, left: [] });
    }
  }
  return deletions;
}

/** The ids of the links that can be deleted: with them go their children. */
function rootsIn({ links, unreadable }: Listing): string[] {
  const roots = links.filter(({ parent, state }) => parent === undefined && state !== 'leaving');
  return [...roots, ...unreadable].map(({ id }) => id);
}

function report(deletions: Deletion[]): void {
  for (const { failure, left } of deletions) {
    if (failure) fail(failure);
    for (const line of left) process.stderr.write(`wormhole: ${printable(line)}\n`);
  }
}
