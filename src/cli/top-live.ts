import { hostname } from 'node:os';
import { stripVTControlCharacters } from 'node:util';
import type { Command } from 'commander';
import type { LinkDetails } from '../api/listing-schema.js';
import { printable } from '../text/printable.js';
import { machinesOf } from './machine.js';
import { describeDetails } from './show-text.js';
import { type Key, pressKey, type View, type Wish } from './top-keys.js';
import { type LinkRates, ratesBetween, type Sample } from './top-rates.js';
import { type TopOptions, takeSample } from './top-sample.js';
import { openScreen } from './top-screen.js';
import { arrange, columnsFor, renderScreen } from './top-text.js';

/** Shows the links on the terminal until the user quits. @throws Error when the links cannot be read at the beginning */
export async function showLive(command: Command, options: TopOptions): Promise<void> {
  const first = await takeSample(command);
  let before: Sample = first.sample;
  let links: LinkRates[] = ratesBetween(before, before);
  let problem = '';
  /** The text about one link, while that is shown in place of all. */
  let details: string | undefined;
  let isReading = false;
  let view: View = {
    order: { sort: options.sort, reversed: false, filter: '' },
    several: first.several,
    selected: 0,
    paused: false,
    interval: options.interval,
  };
  const shown = () => arrange(links, view.order);

  const draw = (): void => screen.draw(details === undefined ? linesOfLinks() : linesOf(details));

  const linesOfLinks = (): string[] => {
    const found = shown();
    view = { ...view, selected: Math.max(0, Math.min(view.selected, found.length - 1)) };
    const { order, typing, interval, paused } = view;
    const total = (rate: 'bytesInPerSecond' | 'bytesOutPerSecond') =>
      (links.reduce((sum, link) => sum + link[rate], 0) / 1e6).toFixed(1);
    const parts = [
      `wormhole top: ${found.length} of ${links.length} links, in ${total('bytesInPerSecond')} MB/s, out ${total('bytesOutPerSecond')} MB/s`,
      ...(order.filter === '' ? [] : [`filter "${order.filter}"`]),
      paused ? 'paused' : `every ${interval} s`,
      ...(problem === '' ? [] : [problem]),
    ];
    const question = typing?.what === 'filter' ? 'Filter: ' : 'Interval, such as 5s: ';
    return renderScreen(found, {
      order,
      columns: columnsFor(view.several),
      selected: view.selected,
      status: parts.join('; '),
      ...(typing && { input: `${question}${typing.text}` }),
      size: screen.size(),
    });
  };

  const linesOf = (text: string): string[] => {
    const { columns, rows } = screen.size();
    const lines = text.split('\n').map((line) => [...line].slice(0, columns).join(''));
    return [...lines.slice(0, rows - 1), 'any key goes back'.slice(0, columns)];
  };

  const look = async (): Promise<void> => {
    if (isReading || view.paused) return;
    isReading = true;
    try {
      const problems: string[] = [];
      const { sample } = await takeSample(command, (line) => problems.push(line));
      links = ratesBetween(before, sample);
      before = sample;
      problem = problems.join('; ');
    } catch (error) {
      problem = (error as Error).message;
    } finally {
      isReading = false;
    }
    draw();
  };

  const showDetails = async (): Promise<void> => {
    const link = shown()[view.selected];
    if (link === undefined) return;
    details = `reading ${printable(link.id)}`;
    draw();
    try {
      details = stripVTControlCharacters(describeDetails(await readDetails(command, link)));
    } catch (error) {
      details = printable((error as Error).message);
    }
    details = printable(details, '\n');
    draw();
  };

  let timer: NodeJS.Timeout | undefined;
  const schedule = (): void => {
    clearInterval(timer);
    timer = setInterval(look, view.interval * 1000);
  };

  const wishes: Record<Wish, () => void> = {
    quit: () => screen.close(),
    suspend: () => screen.suspend(),
    details: () => void showDetails(),
  };
  const onKey = (key: Key): void => {
    if (details !== undefined && !key.ctrl) {
      details = undefined;
      draw();
      return;
    }
    const next = pressKey(view, key, shown().length);
    if (typeof next === 'string') {
      wishes[next]();
      return;
    }
    const isOtherInterval = next.interval !== view.interval;
    view = next;
    if (isOtherInterval) schedule();
    draw();
  };

  const screen = openScreen({ onKey, onResize: draw });
  schedule();
  draw();
  try {
    await screen.closed;
  } finally {
    clearInterval(timer);
  }
}

async function readDetails(command: Command, { id, machine }: LinkRates): Promise<LinkDetails> {
  const machines = await machinesOf(command);
  const found = machines.find(({ name }) => name === machine);
  if (found) {
    const { showAt } = await import('../api/client.js');
    return showAt(found.machine, id);
  }
  if (machine !== hostname()) throw new Error(`machine ${machine} is none of those that -H names`);
  const { showLink } = await import('../links/show.js');
  return showLink(id);
}
