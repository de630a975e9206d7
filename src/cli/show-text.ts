import prettyBytes from 'pretty-bytes';
import type { LinkDetails, ListedLink } from '../api/listing-schema.js';
import { printable } from '../text/printable.js';
import { describeTime, duration } from '../text/time.js';
import { optionWords } from '../units/option-words.js';
import { describeListedEnd } from './listed-end.js';
import { printTable } from './table.js';

type Counters = NonNullable<ListedLink['counters']>;

/** What `wormhole show` prints: sections with a blank line between them; what is empty is left out. `now` is in ms since 1970. */
export function describeDetails(details: LinkDetails, now = Date.now()): string {
  const sections = [
    drawFamily(details.family, details.link.id),
    facts(details.link),
    unitTable(details.units, now),
    namespaceTable(details.namespaces),
    traffic(details, now),
    sessionTable(details.sessions ?? []),
    journalLines(details.journal, now),
  ];
  return sections.filter((section) => section !== '').join('\n');
}

/** The links of the recipe, each below the one that leads to it, with its state. */
function drawFamily(family: ListedLink[], id: string): string {
  const ids = new Set(family.map((link) => link.id));
  const childrenOf = (parent: string) => family.filter((link) => link.parent === parent);
  const drawn = new Set<ListedLink>();
  const draw = (link: ListedLink, first: string, others: string): string[] => {
    drawn.add(link);
    const mark = link.id === id && family.length > 1 ? ' *' : '';
    const from = link.tailOf === undefined ? `${describeListedEnd(link.head)} ` : '';
    const ends = `${from}══▶ ${describeListedEnd(link.tail)}`;
    // Another machine may say that a link is above itself.
    const children = childrenOf(link.id).filter((child) => !drawn.has(child));
    const lines = children.flatMap((child, at) =>
      at < children.length - 1
        ? draw(child, `${others}├─ `, `${others}│  `)
        : draw(child, `${others}└─ `, `${others}   `),
    );
    const notes = `${link.drained ? ' drained' : ''}${link.unhealthy ? ' not healthy' : ''}`;
    return [`${first}${printable(`${link.id}  ${ends}  ${link.state}${notes}${mark}`)}`, ...lines];
  };
  const roots = family.filter(({ parent }) => parent === undefined || !ids.has(parent));
  return `${roots.flatMap((root) => draw(root, '', '')).join('\n')}\n`;
}

function facts({ state, detail, owner, tunnel, recipe, options = {}, volumes = [] }: ListedLink): string {
  const rows: [string, string][] = [['state', detail === '' ? state : `${state} ${detail}`]];
  if (owner !== undefined) rows.push(['for', owner]);
  if (tunnel !== undefined) rows.push(['tunnel', tunnel]);
  rows.push(['recipe', recipe]);
  const words = optionWords(options);
  if (words.length > 0) rows.push(['options', words.join(' ')]);
  for (const { name, path } of volumes) rows.push(['volume', `${name} at ${path}`]);
  return list(rows);
}

function unitTable(units: LinkDetails['units'], now: number): string {
  const rows = units.map(({ name, load, active, sub, since }) => [
    printable(name),
    printable(load === 'loaded' ? `${active} (${sub})` : load),
    since === 0 ? '' : describeTime(since, now),
  ]);
  return printTable(['UNIT', 'STATE', 'SINCE'], rows);
}

function namespaceTable(namespaces: LinkDetails['namespaces']): string {
  if (namespaces.length === 0) return '';
  const rows = namespaces.map(({ place, addresses }) => [
    printable(place),
    printable(addresses.join(' ') || 'unknown'),
  ]);
  return printTable(['NAMESPACE', 'ADDRESSES'], rows);
}

function traffic({ link: { counters }, rates }: LinkDetails, now: number): string {
  if (!counters) return 'no client yet\n';
  const perSecond = (bytes: number | undefined): string =>
    bytes === undefined ? '' : `, ${prettyBytes(Math.round(bytes))}/s`;
  const rows: [string, string][] = [
    [
      'sessions',
      `${counters.open} open, ${counters.served} served, ${(rates?.served ?? 0).toFixed(1)} new/s`,
    ],
    [
      'refused',
      `${counters.unserved} not served, ${counters.denied} not admitted, ${counters.refused} over a limit`,
    ],
    ['from clients', `${prettyBytes(counters.bytesFromClients)}${perSecond(rates?.bytesFromClients)}`],
    ['from target', `${prettyBytes(counters.bytesFromTarget)}${perSecond(rates?.bytesFromTarget)}`],
  ];
  const { datagramsFromClients: asked = 0, datagramsFromTarget: answered = 0 } = counters;
  if (asked + answered > 0) rows.push(['datagrams', `${asked} from clients, ${answered} from target`]);
  rows.push([
    'resets',
    `${counters.resetsByClient} by clients, ${counters.resetsByTarget} by target, ${counters.timedOut} by timeout`,
  ]);
  rows.push(...dialRows(counters));
  const { lastFailure } = counters;
  if (lastFailure) rows.push(['last failure', `${describeTime(lastFailure.at, now)} ${lastFailure.reason}`]);
  return list(rows);
}

/** How long connecting to the target took, and how many clients waited for it to start. */
function dialRows({ dials = [], dialMs = 0, held, heldMs }: Counters): [string, string][] {
  const rows: [string, string][] = [];
  const count = dials.reduce((sum, dial) => sum + dial.count, 0);
  if (count > 0) {
    const buckets = dials.flatMap((dial, at) => {
      if (dial.count === 0) return [];
      const before = dials[at - 1]?.upToMs ?? 0;
      return dial.upToMs === undefined
        ? `more than ${duration(before)} ${dial.count}`
        : `up to ${duration(dial.upToMs)} ${dial.count}`;
    });
    rows.push(['connecting', `${duration(dialMs / count)} on average: ${buckets.join(', ')}`]);
  }
  if (held > 0) rows.push(['held', `${held} clients, ${duration(heldMs / held)} on average`]);
  return rows;
}

function sessionTable(sessions: NonNullable<LinkDetails['sessions']>): string {
  if (sessions.length === 0) return '';
  const rows = sessions.map((session) => [
    printable(session.client),
    printable(session.target || 'connecting'),
    duration(session.ageMs),
    duration(session.idleMs),
    prettyBytes(session.bytesFromClient),
    prettyBytes(session.bytesFromTarget),
  ]);
  return printTable(['CLIENT', 'TARGET', 'AGE', 'SILENT', 'FROM CLIENT', 'FROM TARGET'], rows);
}

function journalLines(lines: LinkDetails['journal'], now: number): string {
  return lines
    .map(({ time, source, text }) => `${describeTime(time, now)} ${printable(source)}: ${printable(text)}\n`)
    .join('');
}

function list(rows: [string, string][]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${printable(value)}\n`).join('');
}
