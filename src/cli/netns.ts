import { type Command, Option } from 'commander';
import { requireRoot } from './fail.js';

/** Adds `wormhole netns`, which wormhole-netns@.service runs; people have no use for it. */
export function addNetns(program: Command): void {
  program
    .command('netns', { hidden: true })
    .description('mount the namespace of a container or a named netns below /run/wormhole/netns')
    .argument('<instance>', 'the instance of wormhole-netns@.service')
    .addOption(new Option('--unmount', 'take it away instead'))
    .action(async (instance: string, { unmount }: { unmount?: boolean }) => {
      requireRoot('netns …');
      const { mountNamespace, unmountNamespace } = await import('../control/netns.js');
      if (unmount) await unmountNamespace(instance);
      else process.stdout.write(`${await mountNamespace(instance)}\n`);
    });
}
