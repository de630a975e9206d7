import type { Command } from 'commander';
import type { ListedLink, Listing } from '../api/schema.js';
import { printable } from '../text/printable.js';
import { printableJson } from '../text/quote.js';
import { describeListedEnd } from './listed-end.js';
import { machineOf } from './machine.js';

/** Adds `wormhole list`. */
export function addList(program: Command): void {
  program
    .command('list')
    .description('list the links of this machine')
    .option('--json', 'print them as JSON')
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const { links, unreadable } = await readListing(command);
      process.stdout.write(json ? `${printableJson(links)}\n` : await describeAll(links));
      for (const { id, reason } of unreadable) {
        process.stderr.write(
          `wormhole: link "${id}" cannot be read: ${printable(reason)}; wormhole delete ${id} removes it\n`,
        );
        process.exitCode = 1;
      }
    });
}

async function readListing(command: Command): Promise<Listing> {
  const machine = await machineOf(command);
  if (machine) {
    const { listAt } = await import('../api/client.js');
    return listAt(machine);
  }
  const { listLinks } = await import('../links/list.js');
  return listLinks();
}

/** The links as a table, and a line for each deleted one of which volumes are left. */
async function describeAll(links: ListedLink[]): Promise<string> {
  const deleted = links.filter(({ state }) => state === 'deleted');
  const lines = deleted.map(({ id, detail }) => `deleted link ${printable(id)}: ${printable(detail)}\n`);
  return [await table(links.filter(({ state }) => state !== 'deleted')), ...lines].join('');
}

async function table(links: ListedLink[]): Promise<string> {
  const { printTable } = await import('./table.js');
  const { default: colours } = await import('picocolors');
  const colourOf: Partial<Record<ListedLink['state'], (text: string) => string>> = {
    connected: colours.green,
    waiting: colours.yellow,
    leaving: colours.yellow,
    failing: colours.red,
    failed: colours.red,
  };
  const rows = links.map(({ id, owner, tunnel, head, tail, state, detail }) => {
    const colour = colourOf[state] ?? String;
    const name = owner === undefined ? id : `${id} (for ${owner})`;
    const to =
      tunnel === undefined ? describeListedEnd(tail) : `${describeListedEnd(tail)}, tunnel ${tunnel}`;
    const status = printable(detail === '' ? state : `${state} ${detail}`);
    return [printable(name), printable(describeListedEnd(head)), printable(to), colour(status)];
  });
  return printTable(['ID', 'HEAD', 'TAIL', 'STATE'], rows);
}
