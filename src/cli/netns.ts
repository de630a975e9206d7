import { type Command, Option } from 'commander';
import { requireRoot } from './fail.js';
import { serviceLog } from './output.js';

/** Adds `wormhole netns`, which wormhole-netns@.service runs; it is not for people. */
export function addNetns(program: Command): void {
  program
    .command('netns', { hidden: true })
    .description('mount the namespace of a container or a named netns below /run/wormhole/netns')
    .argument('<instance>', 'the instance of wormhole-netns@.service')
    .addOption(new Option('--unmount', 'unmount it instead'))
    .action(async (instance: string, { unmount }: { unmount?: boolean }) => {
      requireRoot('netns …');
      const log = serviceLog('wormhole-netns').info;
      const { mountNamespace, unmountNamespace } = await import('../links/containers/netns.js');
      if (unmount) await unmountNamespace(instance);
      else await mountNamespace(instance, log);
    });
}
