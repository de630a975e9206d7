import type { Command } from 'commander';
import { printable } from '../text/printable.js';
import { requireRoot } from './fail.js';
import { machineOf } from './machine.js';

/** Adds `wormhole delete`. */
export function addDelete(program: Command): void {
  program
    .command('delete')
    .description('delete a link and what hangs on it')
    .argument('<id>', 'the id that create printed, and list shows')
    .action(async (id: string, _options: object, command: Command) => {
      const machine = await machineOf(command);
      if (machine) {
        const { deleteAt } = await import('../api/client.js');
        return deleteAt(machine, id);
      }
      requireRoot(`delete ${id}`);
      const { deleteLink } = await import('../links/delete.js');
      const left = await deleteLink(id);
      if (left !== undefined) process.stderr.write(`wormhole: ${printable(left)}\n`);
    });
}
