import type { Command } from 'commander';
import { requireRoot } from './fail.js';
import { serviceLog } from './output.js';

/** Adds `wormhole sync`, which wormhole-sync.service and wormhole-sync-again.service run. */
export function addSync(program: Command): void {
  program
    .command('sync')
    .description('follow containers that have changed (systemd runs this by itself)')
    .option('--once', 'do not wait for the next change')
    .action(async ({ once = false }: { once?: boolean }) => {
      requireRoot('sync');
      const { followContainers } = await import('../links/containers/sync.js');
      await followContainers(serviceLog('wormhole-sync').info, { once });
    });
}
