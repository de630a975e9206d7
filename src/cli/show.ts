import type { Command } from 'commander';
import type { LinkDetails } from '../api/listing-schema.js';
import { printableJson } from '../text/quote.js';
import { machineOf } from './machine.js';

const HELP = `
Showing a link neither starts it nor keeps it awake. Rates are those of a quarter of a second. Sessions are listed once they are
older than a second. Only root sees them and the addresses in namespaces; the journal needs the right to read it.`;

export function addShow(program: Command): void {
  program
    .command('show')
    .description('print everything about one link: units, namespaces, traffic, sessions, journal')
    .argument('<id>', 'the link')
    .option('--json', 'print it as JSON')
    .addHelpText('after', HELP)
    .action(async (id: string, { json }: { json?: boolean }, command: Command) => {
      const details = await readDetails(id, command);
      if (json) process.stdout.write(`${printableJson(details)}\n`);
      else {
        const { describeDetails } = await import('./show-text.js');
        process.stdout.write(describeDetails(details));
      }
    });
}

async function readDetails(id: string, command: Command): Promise<LinkDetails> {
  const machine = await machineOf(command);
  if (machine) {
    const { showAt } = await import('../api/client.js');
    return showAt(machine, id);
  }
  const { showLink } = await import('../links/show.js');
  return showLink(id);
}
