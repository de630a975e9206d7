import type { Command } from 'commander';
import { requireRoot } from './fail.js';

/** Adds `wormhole far`, which wormhole-far.service runs; people have no use for it. */
export function addFar(program: Command): void {
  program
    .command('far', { hidden: true })
    .description('see to what links have on other machines')
    .action(async () => {
      requireRoot('far');
      const { passedSockets } = await import('../control/api/doors.js');
      const { keepFarEnds } = await import('../control/far-service.js');
      const sockets = passedSockets(process.env, process.pid);
      await keepFarEnds(sockets, (line) => process.stdout.write(`${line}\n`));
    });
}
