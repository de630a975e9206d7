import { join } from 'node:path';
import type { Command } from 'commander';
import { printable } from '../text/printable.js';
import { requireRoot } from './fail.js';
import { requireHere } from './machine.js';

export function addExport(program: Command): void {
  program
    .command('export')
    .description('print the files that describe links, as apply reads them')
    .option('-o, --output <directory>', 'write each file to that directory instead')
    .argument('[id...]', 'the ids of links, the default being all links and tunnels')
    .action(async (ids: string[], { output }: { output?: string }, command: Command) => {
      await requireHere(command, 'export');
      requireRoot(`export ${ids.join(' ')}`);
      const { exportLinks } = await import('../links/declared/export.js');
      const { files, left } = exportLinks(ids.length > 0 ? [...new Set(ids)] : undefined);
      if (output === undefined)
        process.stdout.write(files.map(({ name, text }) => `### ${name}.wormhole\n${text}`).join('\n'));
      else await writeAll(output, files);
      for (const line of left) process.stderr.write(`wormhole: ${printable(line)}\n`);
    });
}

async function writeAll(directory: string, files: { name: string; text: string }[]): Promise<void> {
  const { makeDirectory, writeAtomically } = await import('../system/files.js');
  makeDirectory(directory);
  for (const { name, text } of files) {
    const path = join(directory, `${name}.wormhole`);
    // What docker-run is given may be secret.
    writeAtomically(path, text, { mode: 0o600 });
    process.stdout.write(`${printable(path)}\n`);
  }
}
