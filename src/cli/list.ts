import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import type { ListedLink } from '../api/listing-schema.js';
import { printable } from '../text/printable.js';
import { printableJson } from '../text/quote.js';
import { UsageError } from './fail.js';
import { type LinkFilter, selectLinks } from './link-filter.js';
import { describeListedEnd } from './listed-end.js';
import { type Listings, readListings } from './listings.js';

/** The time between two looks of --watch, ms. */
const WATCH_MS = 2_000;

/** Moves the cursor to the beginning of the screen, and clears what is below it (console_codes(4)). */
const CLEAR = '\u001b[H\u001b[J';

const STATES: ListedLink['state'][] = [
  ...(['listening', 'connected', 'sleeping', 'waiting'] as const),
  ...(['failing', 'failed', 'stopped', 'leaving', 'deleted'] as const),
];

const HELP = `
With -H several times, the links of all these machines are listed. --state may be given several times.`;

interface ListOptions extends LinkFilter {
  json?: boolean;
  wide?: boolean;
  watch?: boolean;
}

export function addList(program: Command): void {
  program
    .command('list')
    .description('list the links of this machine')
    .option('--json', 'print them as JSON')
    .option('--wide', 'also print the traffic and the recipes')
    .option('--watch', 'print them again every two seconds')
    .addOption(new Option('--state <state>', 'only links in that state').choices(STATES).argParser(readState))
    .option('--machine <name>', 'only links that lead to a machine, or that are for it')
    .option('--container <name>', 'only links with an end in a container')
    .addHelpText('after', HELP)
    .action(async (options: ListOptions, command: Command) => {
      if (options.json && options.watch)
        throw new UsageError('--json and --watch contradict each other: repeat list --json instead');
      if (!options.watch) return print(await readListings(command), options);
      // Until it is interrupted, or its reader goes away.
      while (!process.stdout.destroyed) {
        const listings = await readListings(command);
        process.stdout.write(process.stdout.isTTY ? CLEAR : '');
        await print(listings, options);
        if (!process.stdout.isTTY) process.stdout.write('\n');
        await sleep(WATCH_MS);
      }
    });
}

function readState(text: string, before: ListedLink['state'][] = []): ListedLink['state'][] {
  const state = STATES.find((known) => known === text);
  if (state === undefined) throw new UsageError(`--state "${text}" is none of ${STATES.join(', ')}`);
  return [...before, state];
}

/** Which columns a table has beside the usual ones: the machines, and those of --wide. */
interface Columns {
  several: boolean;
  wide?: boolean;
}

/** A link as it is listed, with its machine if there are several. */
type Row = ListedLink & { machine?: string };

async function print({ listings, several }: Listings, options: ListOptions): Promise<void> {
  const rows: Row[] = listings.flatMap(({ machine, listing }) =>
    selectLinks(listing.links, options).map((link) => ({ ...(several && { machine }), ...link })),
  );
  process.stdout.write(
    options.json ? `${printableJson(rows)}\n` : await describeAll(rows, { several, ...options }),
  );
  for (const { machine, listing } of listings) {
    const where = several ? `${machine}: ` : '';
    for (const line of listing.labels ?? []) process.stderr.write(`wormhole: ${printable(where + line)}\n`);
    for (const { id, reason } of listing.unreadable) {
      process.stderr.write(
        `wormhole: ${printable(`${where}link "${id}" cannot be read: ${reason}`)}; wormhole delete ${printable(id)} removes it\n`,
      );
      process.exitCode = 1;
    }
  }
}

/** The links as a table, and a line for each deleted one of which volumes are left. */
async function describeAll(links: Row[], columns: Columns): Promise<string> {
  const deleted = links.filter(({ state }) => state === 'deleted');
  const lines = deleted.map(({ id, detail }) => `deleted link ${printable(id)}: ${printable(detail)}\n`);
  return [
    await table(
      links.filter(({ state }) => state !== 'deleted'),
      columns,
    ),
    ...lines,
  ].join('');
}

async function table(links: Row[], { several, wide = false }: Columns): Promise<string> {
  const { printTable } = await import('./table.js');
  const { default: colours } = await import('picocolors');
  const colourOf: Partial<Record<ListedLink['state'], (text: string) => string>> = {
    connected: colours.green,
    waiting: colours.yellow,
    leaving: colours.yellow,
    failing: colours.red,
    failed: colours.red,
  };
  const { default: prettyBytes } = await import('pretty-bytes');
  const rows = links.map(
    ({ machine = '', id, tailOf, owner, tunnel, head, tail, state, detail, counters, recipe }) => {
      const colour = colourOf[state] ?? String;
      const name = owner === undefined ? id : `${id} (for ${owner})`;
      const to =
        tunnel === undefined ? describeListedEnd(tail) : `${describeListedEnd(tail)}, tunnel ${tunnel}`;
      const from = tailOf === undefined ? describeListedEnd(head) : `tail of ${tailOf}`;
      const status = printable(detail === '' ? state : `${state} ${detail}`);
      const figures = counters
        ? [
            String(counters.served),
            prettyBytes(counters.bytesFromClients),
            prettyBytes(counters.bytesFromTarget),
          ]
        : ['0', '0 B', '0 B'];
      return [
        ...(several ? [printable(machine)] : []),
        ...[printable(name), printable(from), printable(to)],
        ...(wide ? figures : []),
        colour(status),
        ...(wide ? [printable(recipe)] : []),
      ];
    },
  );
  const titles = [
    ...(several ? ['MACHINE'] : []),
    ...['ID', 'HEAD', 'TAIL'],
    ...(wide ? ['SESSIONS', 'FROM CLIENTS', 'FROM TARGET'] : []),
    'STATE',
    ...(wide ? ['RECIPE'] : []),
  ];
  return printTable(titles, rows);
}
