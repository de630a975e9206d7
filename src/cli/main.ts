#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { version } from '../control/installation.js';
import { addCreate } from './create.js';
import { addDelete } from './delete.js';
import { exitStatus, fail } from './fail.js';
import { addHelp } from './help.js';
import { addList } from './list.js';
import { addNetns } from './netns.js';
import { addSync } from './sync.js';

const program = new Command('wormhole')
  .description('Connects ports across network namespaces, containers and machines.')
  .version(version(), '--version', 'print the version')
  .helpOption('-h, --help', 'print this help')
  .enablePositionalOptions()
  .configureHelp({ sortSubcommands: false })
  .configureOutput({ outputError: (text, write) => write(oneLine(text)) })
  .exitOverride();

for (const add of [addCreate, addDelete, addList, addHelp, addSync, addNetns]) add(program);

try {
  await program.parseAsync();
} catch (error) {
  // commander has printed its own errors already.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : exitStatus.usage;
  else fail(error);
}

/** commander's message with the way out, on one line. */
function oneLine(text: string): string {
  const message = text
    .trim()
    .replace(/^error: /, '')
    .replace(/\.?\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  return `wormhole: ${message}; see wormhole help\n`;
}
