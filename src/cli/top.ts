import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { readDuration } from '../recipe/duration.js';
import { escapeUnprintable } from '../text/printable.js';
import { UsageError } from './fail.js';
import { type TopOptions, takeSample } from './top-sample.js';
import { COLUMNS, type Column } from './top-text.js';

const HELP = `
On a terminal the links are shown again after each interval. Keys: arrows and page keys select a link, Enter shows it as show does; < and >
or F6 choose the column to sort by, P M T N E sort by bytes in, sessions, dial time, id, errors; I or r reverses the order; / filters by id,
machine or state; d sets the interval; Space or p pauses; Escape removes the filter; q quits.
Elsewhere, or with --once, --count or --json, a table or JSON objects are printed for each interval.
IN is what clients send, OUT what they get, DIAL how long connecting to the target took on average, IDLE IN when a
link without a session goes to sleep. Showing a link neither starts it nor keeps it awake. With -H several times, the links of all these machines are shown.`;

export function addTop(program: Command): void {
  program
    .command('top')
    .description('show the traffic of links, live')
    .addOption(
      new Option('--interval <span>', 'the refresh interval').argParser(readInterval).default(2, '2s'),
    )
    .addOption(
      new Option('--sort <column>', 'the column to sort by')
        .choices(COLUMNS)
        .argParser(readColumn)
        .default('in'),
    )
    .option('--once', 'print one interval and exit')
    .option('--count <n>', 'print N intervals and exit', readCount)
    .option('--json', 'print one JSON object per line: a link in an interval')
    .addHelpText('after', HELP)
    .action(async (options: TopOptions, command: Command) => {
      if (options.once && options.count !== undefined)
        throw new UsageError('--once and --count contradict each other: --once is --count 1');
      const isPlain = options.once || options.count !== undefined || options.json;
      if (isPlain || !process.stdout.isTTY || !process.stdin.isTTY) return printIntervals(command, options);
      const { showLive } = await import('./top-live.js');
      await showLive(command, options);
    });
}

function readInterval(text: string): number {
  const seconds = readDuration(text);
  if (seconds === undefined)
    throw new UsageError(
      `--interval "${text}" is not a span of time from a second to a year, such as 2s or 1m`,
    );
  return seconds;
}

function readColumn(text: string): Column {
  const column = COLUMNS.find((known) => known === text);
  if (column === undefined) throw new UsageError(`--sort "${text}" is none of ${COLUMNS.join(', ')}`);
  return column;
}

function readCount(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new UsageError(`--count "${text}" is not a number of intervals such as 10`);
}

/** Prints the rates of each interval, until there were enough, or the reader of the output goes away. */
async function printIntervals(command: Command, options: TopOptions): Promise<void> {
  const { ratesBetween } = await import('./top-rates.js');
  const { arrange, columnsFor, describeRates } = await import('./top-text.js');
  const order = { sort: options.sort, reversed: false, filter: '' };
  let left = options.once ? 1 : (options.count ?? Number.POSITIVE_INFINITY);
  let { sample: before } = await takeSample(command);
  for (; left > 0 && !process.stdout.destroyed; left--) {
    await sleep(options.interval * 1000);
    const { sample: after, several } = await takeSample(command);
    const links = arrange(ratesBetween(before, after), order);
    before = after;
    const time = new Date(Date.now() - (performance.now() - after.at)).toISOString();
    if (options.json)
      for (const link of links)
        process.stdout.write(`${escapeUnprintable(JSON.stringify({ time, ...link }))}
`);
    else process.stdout.write(`${time}\n${describeRates(links, columnsFor(several)).join('\n')}\n\n`);
  }
}
