import type { Command } from 'commander';
import { requireRoot } from './fail.js';
import { serviceLog } from './output.js';

/** Adds `wormhole far`, which wormhole-far.service runs; it is not for people. */
export function addFar(program: Command): void {
  program
    .command('far', { hidden: true })
    .description('maintain the parts of links on other machines')
    .action(async () => {
      requireRoot('far');
      const { passedSockets } = await import('../systemd/listen-fds.js');
      const { runFarService } = await import('../links/remote/far-service.js');
      await runFarService(passedSockets(process.env, process.pid), serviceLog('wormhole-far').info);
    });
}
