import type { Command } from 'commander';
import type { Machine } from '../api/connect.js';
import { Failure } from '../api/failure.js';
import type { Listing } from '../api/listing-schema.js';
import type { DeleteBody } from '../api/schema.js';
import type { Deletion } from '../links/delete.js';
import { printable } from '../text/printable.js';
import { fail, requireRoot, UsageError } from './fail.js';
import { machineOf } from './machine.js';

export function addDelete(program: Command): void {
  program
    .command('delete')
    .description('delete links with their children, containers and parts on other machines')
    .option('--all', 'every link of the machine')
    .option('--volumes', 'also the volumes, with their data, that were made for containers of these links')
    .option('--keep', 'leave the containers that were made for these links, stopped and under other names')
    .argument('[id...]', 'the ids that create printed, and list shows')
    .action(async (ids: string[], { all = false, ...options }: Flags, command: Command) => {
      if (all && ids.length > 0) throw new UsageError('give ids or --all, not both');
      if (!all && ids.length === 0) throw new UsageError('which link? wormhole delete ID, or --all');
      if (options.keep && options.volumes)
        throw new UsageError('--keep or --volumes, not both: a container that is kept has its volumes');
      const wanted = all ? 'all' : ids;
      const machine = await machineOf(command);
      if (!machine) requireRoot(`delete ${all ? '--all' : ids.join(' ')}`);
      report(machine ? await deleteThere(machine, wanted, options) : await deleteHere(wanted, options));
    });
}

interface Flags extends DeleteBody {
  all?: boolean;
}

async function deleteHere(ids: string[] | 'all', options: DeleteBody): Promise<Deletion[]> {
  const { deleteLinks } = await import('../links/delete.js');
  return deleteLinks(ids, options);
}

async function deleteThere(
  machine: Machine,
  ids: string[] | 'all',
  options: DeleteBody,
): Promise<Deletion[]> {
  const { deleteAt, listAt } = await import('../api/client.js');
  const deletions: Deletion[] = [];
  const wanted = ids === 'all' ? idsIn(await listAt(machine), options) : ids;
  for (const id of new Set(wanted)) {
    try {
      deletions.push({ id, left: await deleteAt(machine, id, options) });
    } catch (error) {
      // What the machine says of one link does not hold for the next one.
      if (!(error instanceof Failure)) throw error;
      deletions.push({ id, failure: error, left: [] });
    }
  }
  return deletions;
}

/** The ids of the links that can be deleted: with them go their children. Volumes may be left of those that are deleted. */
function idsIn({ links, unreadable }: Listing, { volumes = false }: DeleteBody): string[] {
  const roots = links.filter(
    ({ parent, state }) => parent === undefined && state !== 'leaving' && (volumes || state !== 'deleted'),
  );
  return [...roots, ...unreadable].map(({ id }) => id);
}

function report(deletions: Deletion[]): void {
  for (const { failure, left } of deletions) {
    if (failure) fail(failure);
    for (const line of left) process.stderr.write(`wormhole: ${printable(line)}\n`);
  }
}
