import type { Command } from 'commander';
import { requireRoot } from './fail.js';

/** Adds `wormhole delete`. */
export function addDelete(program: Command): void {
  program
    .command('delete')
    .description('delete a link and what hangs on it')
    .argument('<id>', 'the id that create printed, and list shows')
    .action(async (id: string) => {
      requireRoot(`delete ${id}`);
      const { deleteLink } = await import('../control/delete.js');
      await deleteLink(id);
    });
}
