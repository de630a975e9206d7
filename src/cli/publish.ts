import type { Command } from 'commander';
import { printable } from '../text/printable.js';
import { requireRoot } from './fail.js';
import { requireHere } from './machine.js';

const HELP = `
RECIPE is what follows the head of a link: it begins with tail or trigger. Machines that have this machine's key lead links to it
with remote service:NAME or tunnel service:NAME, if a registry there names this machine: doc/fleet.md. A tail without a port has
that of the head which leads to it.`;

/** Adds `wormhole publish` and `unpublish`. */
export function addPublish(program: Command): void {
  program
    .command('publish')
    .description('let links of other machines lead to a tail here, by the name of a service')
    .usage('NAME RECIPE...')
    .argument('<name>', 'the name of the service, such as db')
    .argument('<recipe...>', 'the words of a recipe from its tail on')
    .addHelpText('after', HELP)
    .passThroughOptions()
    .action(async (name: string, words: string[], _options: object, command: Command) => {
      await requireHere(command, 'publish');
      requireRoot(`publish ${name} …`);
      const { publishService } = await import('../links/services/publish.js');
      const { showProgress } = await import('./progress.js');
      printLeft(await publishService(name, words, showProgress()));
    });
  program
    .command('unpublish')
    .description('stop publishing a service, and end the sessions of other machines with it')
    .argument('<name>', 'the name of the service, as services shows it')
    .action(async (name: string, _options: object, command: Command) => {
      await requireHere(command, 'unpublish');
      requireRoot(`unpublish ${name}`);
      const { unpublishService } = await import('../links/services/publish.js');
      printLeft(await unpublishService(name));
    });
}

function printLeft(left: string[]): void {
  for (const line of left) process.stderr.write(`wormhole: ${printable(line)}\n`);
}
