import prettyBytes from 'pretty-bytes';
import { printable } from '../text/printable.js';
import { printTable } from './table.js';
import type { LinkRates } from './top-rates.js';

/** The columns of top by which it can sort, from left to right. */
export const COLUMNS = [
  ...(['machine', 'id', 'state', 'sessions', 'new', 'in', 'out', 'errors', 'dial', 'idle'] as const),
];
export type Column = (typeof COLUMNS)[number];

/** Which links are shown, and in which order. Figures have the largest first, names are in alphabetical order. */
export interface Order {
  sort: Column;
  reversed: boolean;
  /** Shows only links whose id, machine or state contains it. */
  filter: string;
}

const TITLES: Record<Column, string> = {
  ...{ machine: 'MACHINE', id: 'ID', state: 'STATE', sessions: 'SESSIONS', new: 'NEW/S' },
  ...{ in: 'IN/S', out: 'OUT/S', errors: 'ERRORS/S', dial: 'DIAL', idle: 'IDLE IN' },
};

const VALUES: Record<Column, (link: LinkRates) => string | number> = {
  machine: ({ machine }) => machine,
  id: ({ id }) => id,
  state: ({ state }) => state,
  sessions: ({ open }) => open,
  new: ({ newPerSecond }) => newPerSecond,
  in: ({ bytesInPerSecond }) => bytesInPerSecond,
  out: ({ bytesOutPerSecond }) => bytesOutPerSecond,
  errors: ({ errorsPerSecond, errors }) => errorsPerSecond + errors / 1e12,
  dial: ({ dialMs }) => dialMs ?? -1,
  idle: ({ idleInMs }) => idleInMs ?? -1,
};

/** The links that are shown, in their order. Equal ones are in the order of their ids. */
export function arrange(links: LinkRates[], { sort, reversed, filter }: Order): LinkRates[] {
  const value = VALUES[sort];
  const wanted = filter.toLowerCase();
  const found = links.filter(({ id, machine, state }) =>
    [id, machine, state].some((text) => text.toLowerCase().includes(wanted)),
  );
  return found.sort((one, other) => {
    const order = compare(value(one), value(other));
    return (reversed ? -order : order) || compare(one.id, other.id) || compare(one.machine, other.machine);
  });
}

function compare(one: string | number, other: string | number): number {
  if (typeof one === 'number' && typeof other === 'number') return other - one;
  return one < other ? -1 : one > other ? 1 : 0;
}

/** The columns that are shown: that of the machines only if there are several. */
export function columnsFor(several: boolean): Column[] {
  return COLUMNS.filter((column) => several || column !== 'machine');
}

/** A table of links, a line each below the titles; the column that it is sorted by has a mark. */
export function describeRates(links: LinkRates[], columns: Column[], order?: Order): string[] {
  const titles = columns.map((column) => {
    const mark = order?.reversed ? '^' : 'v';
    return column === order?.sort ? `${TITLES[column]}${mark}` : TITLES[column];
  });
  const rows = links.map((link) => columns.map((column) => CELLS[column](link)));
  return printTable(titles, rows).split('\n').slice(0, -1);
}

const CELLS: Record<Column, (link: LinkRates) => string> = {
  machine: ({ machine }) => printable(machine),
  id: ({ id }) => printable(id),
  state: ({ state }) => state,
  sessions: ({ open }) => String(open),
  new: ({ newPerSecond }) => rate(newPerSecond),
  in: ({ bytesInPerSecond }) => prettyBytes(Math.round(bytesInPerSecond)),
  out: ({ bytesOutPerSecond }) => prettyBytes(Math.round(bytesOutPerSecond)),
  errors: ({ errorsPerSecond, errors }) => `${rate(errorsPerSecond)} (${errors})`,
  dial: ({ dialMs }) => (dialMs === undefined ? '-' : `${rate(dialMs)} ms`),
  idle: ({ idleInMs }) => (idleInMs === undefined ? '-' : describeSeconds(Math.ceil(idleInMs / 1000))),
};

/** "12 s", "4 min" or "3 h". */
function describeSeconds(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function rate(value: number): string {
  return value < 100 ? value.toFixed(1) : String(Math.round(value));
}

/** What is on the screen beside the links. `input` is what is being typed, with its question. */
export interface Screen {
  order: Order;
  columns: Column[];
  /** The place of the selected link among those that are shown. */
  selected: number;
  status: string;
  input?: string;
  size: { columns: number; rows: number };
}

const KEYS = 'q quit  Enter details  < > sort  I reverse  / filter  d interval  Space pause';

/** The lines of the screen, none wider than it: the status, the titles, as many links as fit around the selected one, the keys. */
export function renderScreen(links: LinkRates[], screen: Screen): string[] {
  const { order, columns, selected, status, input, size } = screen;
  const [titles = '', ...lines] = describeRates(links, columns, order);
  const room = Math.max(size.rows - 3, 1);
  const first = Math.max(0, Math.min(selected - Math.floor(room / 2), lines.length - room));
  const cut = (line: string): string => [...line].slice(0, size.columns).join('');
  const shown = lines.slice(first, first + room).map((line, at) => {
    const text = cut(line);
    return first + at === selected ? `\u001b[7m${text}\u001b[27m` : text;
  });
  const filler = Array.from({ length: room - shown.length }, () => '');
  const head = [cut(printable(status)), `\u001b[1m${cut(titles)}\u001b[22m`];
  return [...head, ...shown, ...filler, cut(printable(input ?? KEYS))].slice(0, size.rows);
}
