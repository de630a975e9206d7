import type { Command } from 'commander';
import type { LinkCommand } from '../api/schema.js';
import { requireRoot } from './fail.js';
import { machineOf } from './machine.js';

const DESCRIPTIONS: Record<LinkCommand, string> = {
  stop: 'close a link, also across reboots, and stop what it runs',
  start: 'reopen a stopped link',
  sleep: 'stop what the trigger of a link started, without waiting for it to be idle',
};

/** Adds `wormhole stop`, `start` and `sleep`. */
export function addChanges(program: Command): void {
  for (const change of ['stop', 'start', 'sleep'] as const)
    program
      .command(change)
      .description(DESCRIPTIONS[change])
      .argument('<id>', 'the id that create printed, and list shows')
      .action(async (id: string, _options: object, command: Command) => {
        const machine = await machineOf(command);
        if (machine) {
          const { changeAt } = await import('../api/client.js');
          return changeAt(machine, id, change);
        }
        requireRoot(`${change} ${id}`);
        const { sleepLink, startLink, stopLink } = await import('../links/start-stop.js');
        await { stop: stopLink, start: startLink, sleep: sleepLink }[change](id);
      });
}
