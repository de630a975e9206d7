import type { Command } from 'commander';
import { requireRoot } from './fail.js';
import { serviceLog } from './output.js';

/** Adds `wormhole health-follow`, which wormhole-health@ID.service runs; it is not for people. */
export function addHealthFollow(program: Command): void {
  program
    .command('health-follow', { hidden: true })
    .description('tell the forwarder of a link which of its containers are healthy')
    .argument('<id>', 'the id of a link')
    .action(async (id: string) => {
      requireRoot('health-follow');
      const { followHealth } = await import('../links/containers/health.js');
      await followHealth(id, serviceLog('wormhole-health').info);
    });
}
