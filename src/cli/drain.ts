import type { Command } from 'commander';
import { requireRoot } from './fail.js';
import { machineOf } from './machine.js';

/** Adds `wormhole drain` and `undrain`. */
export function addDrain(program: Command): void {
  for (const [name, description] of [
    ['drain', 'send no new client to one of several tails of a link; its sessions go on'],
    ['undrain', 'send clients again to a tail that was drained'],
  ] as const)
    program
      .command(name)
      .description(description)
      .argument('<id>', 'the id of the link')
      .argument(
        '<tail>',
        'the name of the tail, as list shows it after "-to-", or its place in the recipe, from 1',
      )
      .action(async (id: string, tail: string, _options: object, command: Command) => {
        const machine = await machineOf(command);
        const drains = name === 'drain';
        if (machine) {
          const { drainAt } = await import('../api/client.js');
          return drainAt(machine, id, { tail, drains });
        }
        requireRoot(`${name} ${id} ${tail}`);
        const { drainTail } = await import('../links/drain.js');
        await drainTail(id, tail, drains);
      });
}
