import type { Command } from 'commander';
import { UsageError } from './fail.js';
import { recipeHelp } from './recipe-help.js';

/** Adds `wormhole help`, and the recipe language to the help of `create`. */
export function addHelp(program: Command): void {
  program.addHelpText('after', '\nThe recipe language: wormhole help create\nMore: man wormhole');
  program.commands.find((command) => command.name() === 'create')?.addHelpText('after', `\n${recipeHelp}`);
  program
    .helpCommand(false)
    .command('help')
    .description('print the help of a command')
    .argument('[command]', 'a command, such as create')
    .action((name?: string) => {
      const command =
        name === undefined ? program : program.commands.find((candidate) => candidate.name() === name);
      if (!command) throw new UsageError(`no command "${name}": see wormhole help`);
      command.outputHelp();
    });
}
