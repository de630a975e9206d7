import type { Command } from 'commander';
import { requireRoot } from './fail.js';

/** Adds what wormhole-counters.service and wormhole-counters-save.service run; it is not for people. */
export function addCounters(program: Command): void {
  program
    .command('counters-restore', { hidden: true })
    .description('give forwarders the counters that were saved before a reboot')
    .action(async () => {
      requireRoot('counters-restore');
      const { restoreCounters } = await import('../state/traffic.js');
      await restoreCounters();
    });
  program
    .command('counters-save', { hidden: true })
    .description('save the counters of links')
    .action(async () => {
      requireRoot('counters-save');
      const { saveCounters } = await import('../state/traffic.js');
      await saveCounters();
    });
}
