import type { Command } from 'commander';
import type { DayReport, TrafficReport } from '../api/listing-schema.js';
import { printable } from '../text/printable.js';
import { printableJson } from '../text/quote.js';
import { UsageError } from './fail.js';
import { readListings } from './listings.js';
import { machineOf } from './machine.js';

const HELP = `
One line per link and day with clients, the oldest day first, in the time zone of the machine, including deleted links.
REFUSED counts clients that were closed because the target was not reached, the link does not admit them, or a limit was reached.
400 days are kept.`;

export function addReport(program: Command): void {
  program
    .command('report')
    .description('print the traffic of links by day')
    .argument('[id...]', 'the links, all by default')
    .option('--days <n>', 'only the last N days that have a record', readDays)
    .option('--json', 'print it as JSON')
    .addHelpText('after', HELP)
    .action(async (ids: string[], { days, json }: { days?: number; json?: boolean }, command: Command) => {
      const all = await readReport(command);
      await requireLinks(command, { ids, report: all });
      const report = select(all, ids, days);
      process.stdout.write(json ? `${printableJson(report)}\n` : await table(report));
    });
}

function readDays(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new UsageError(`--days "${text}" is not a number of days such as 7`);
}

async function readReport(command: Command): Promise<TrafficReport> {
  const machine = await machineOf(command);
  if (machine) {
    const { reportAt } = await import('../api/client.js');
    return reportAt(machine);
  }
  const { trafficReport } = await import('../links/report.js');
  return trafficReport();
}

/** Makes sure that each id is that of a link, or of one that has had clients. @throws Error that quotes the first that is not */
async function requireLinks(
  command: Command,
  { ids, report }: { ids: string[]; report: TrafficReport },
): Promise<void> {
  const known = new Set(report.days.flatMap(({ links }) => links.map(({ id }) => id)));
  const others = ids.filter((id) => !known.has(id));
  if (others.length === 0) return;
  const { listings } = await readListings(command);
  const existing = new Set(listings.flatMap(({ listing }) => listing.links.map(({ id }) => id)));
  const missing = others.find((id) => !existing.has(id));
  if (missing !== undefined) throw new Error(`no link "${missing}": see wormhole list`);
}

function select({ days }: TrafficReport, ids: string[], last: number | undefined): DayReport[] {
  const wanted = last === undefined ? days : days.slice(-last);
  return wanted
    .map(({ day, links }) => ({
      day,
      links: links.filter(({ id }) => ids.length === 0 || ids.includes(id)),
    }))
    .filter(({ links }) => links.length > 0);
}

async function table(days: DayReport[]): Promise<string> {
  const { printTable } = await import('./table.js');
  const { default: prettyBytes } = await import('pretty-bytes');
  const rows = days.flatMap(({ day, links }) =>
    links.map(({ id, traffic }) => [
      printable(day),
      printable(id),
      String(traffic.served),
      String(traffic.unserved + traffic.denied + traffic.refused),
      prettyBytes(traffic.bytesFromClients),
      prettyBytes(traffic.bytesFromTarget),
      String(traffic.datagramsFromClients + traffic.datagramsFromTarget),
    ]),
  );
  return printTable(['DAY', 'ID', 'SESSIONS', 'REFUSED', 'FROM CLIENTS', 'FROM TARGET', 'DATAGRAMS'], rows);
}
