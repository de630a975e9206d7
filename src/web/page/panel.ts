import type { ListedLink } from '../../api/listing-schema.js';
import { duration } from '../../text/time.js';
import type { Rate } from '../history.js';
import type { ShownDetails } from '../overview.js';
import { type Chart, createChart } from './chart.js';
import { element, icon, setChildren } from './dom.js';
import { bytes, moment, perSecond } from './format.js';

/** The panel with everything about one link. */
export interface Panel {
  /** Begins to show a link; its details follow. */
  open(id: string): void;
  show(details: ShownDetails, rates: Rate[]): void;
  /** The link cannot be read, or is gone. */
  fail(reason: string): void;
  close(): void;
}

/** Makes the panel in an element. @param onClose called when somebody closes it; @param open when another link is asked for */
export function createPanel(root: HTMLElement, onClose: () => void, open: (id: string) => void): Panel {
  let chart: Chart | undefined;
  const head = element('div', { class: 'head' });
  const content = element('div');
  const close = element('button', {
    class: 'close',
    text: '✕',
    on: { click: onClose },
    attributes: { type: 'button', 'aria-label': 'Close', title: 'Close (Escape)' },
  });
  const title = (id: string, link?: ListedLink) => {
    setChildren(head, [
      element('h2', { text: id }),
      link &&
        element('span', { class: `badge ${link.state}` }, [
          icon(link.state),
          element('span', { text: link.state }),
        ]),
      close,
    ]);
  };
  return {
    open(id) {
      chart?.destroy();
      chart = createChart('Last hour', 110);
      title(id);
      setChildren(content, [element('section', { text: 'reading …' })]);
      setChildren(root, [head, content]);
      root.hidden = false;
      close.focus();
    },
    show(details, rates) {
      if (!chart) return;
      title(details.link.id, details.link);
      const { chart: place, sections } = sectionsOf(details, chart, open);
      // What was scrolled to stays there.
      setChildren(content, sections);
      if (!place.contains(chart.element)) place.append(chart.element);
      chart.show(rates);
      if (document.activeElement === document.body) close.focus();
    },
    fail(reason) {
      setChildren(content, [element('section', {}, [element('p', { class: 'failed', text: reason })])]);
    },
    close() {
      chart?.destroy();
      chart = undefined;
      root.hidden = true;
      setChildren(root, []);
    },
  };
}

function sectionsOf(details: ShownDetails, chart: Chart, open: (id: string) => void) {
  const place = section('Traffic', [chart.element, ...traffic(details)]);
  const { sessions = [], journal, units, namespaces } = details;
  const sections = [
    section('Link', [facts(details)]),
    details.family.length > 1 ? section('Recipe', [tree(details, open)]) : undefined,
    place,
    sessions.length > 0 ? section(`Sessions (${sessions.length})`, [sessionTable(sessions)]) : undefined,
    section('Journal', [journalLines(journal)]),
    section('Units', [unitTable(units)]),
    namespaces.length > 0 ? section('Namespaces', [namespaceTable(namespaces)]) : undefined,
  ].filter((one) => one !== undefined);
  return { chart: place, sections };
}

function section(title: string, children: Node[]): HTMLElement {
  return element('section', {}, [element('h3', { text: title }), ...children]);
}

function endOf({ url, place, also = [] }: ListedLink['head']): string {
  const urls = [url, ...also].filter((text) => text !== '').join(', ');
  if (urls === '') return place;
  return place === 'this host' ? urls : `${urls} in ${place}`;
}

function facts({ link, optionWords }: ShownDetails): Node {
  const { state, detail, head, tail, owner, tunnel, recipe, volumes = [] } = link;
  const rows: [string, string][] = [
    ['state', detail === '' ? state : `${state} ${detail}`],
    ['head', endOf(head)],
    ['tail', endOf(tail)],
  ];
  if (owner !== undefined) rows.push(['for', owner]);
  if (tunnel !== undefined) rows.push(['tunnel', `to ${tunnel}`]);
  rows.push(['recipe', recipe]);
  if (optionWords.length > 0) rows.push(['options', optionWords.join(' ')]);
  for (const { name, path } of volumes) rows.push(['volume', `${name} at ${path}`]);
  return list(rows, ['recipe', 'options', 'head', 'tail', 'volume']);
}

function list(rows: [string, string][], mono: string[] = []): HTMLElement {
  return element(
    'dl',
    {},
    rows.flatMap(([name, text]) => [
      element('dt', { text: name }),
      element('dd', { text, class: mono.includes(name) ? 'mono' : '' }),
    ]),
  );
}

/** The links of the recipe, each below the one that leads to it. */
function tree({ family, link }: ShownDetails, open: (id: string) => void): Node {
  const ids = new Set(family.map(({ id }) => id));
  const branch = (of: ListedLink[]): HTMLElement =>
    element(
      'ul',
      { class: 'tree' },
      of.map((one) => {
        const text = `${one.id}${one.id === link.id ? ' (this one)' : ''}: ${endOf(one.head)} → ${endOf(one.tail)}, ${one.state}`;
        const line = element('p', { class: one.state }, [icon(one.state), element('span', { text })]);
        if (one.id !== link.id) line.append(showButton(one.id, open));
        const children = family.filter(({ parent }) => parent === one.id);
        return element('li', {}, [line, children.length > 0 ? branch(children) : undefined]);
      }),
    );
  return branch(family.filter(({ parent }) => parent === undefined || !ids.has(parent)));
}

function showButton(id: string, open: (id: string) => void): HTMLElement {
  return element('button', {
    text: 'show',
    on: { click: () => open(id) },
    attributes: { type: 'button', 'aria-label': `Show link ${id}` },
  });
}

function traffic({ link: { counters }, rates }: ShownDetails): Node[] {
  if (!counters) return [element('p', { text: 'no client yet' })];
  const rate = (number: number | undefined) => (number === undefined ? '' : `, ${perSecond(number)}`);
  const rows: [string, string][] = [
    [
      'sessions',
      `${counters.open} open, ${counters.served} served, ${(rates?.served ?? 0).toFixed(1)} new/s`,
    ],
    [
      'refused',
      `${counters.unserved} not served, ${counters.denied} not admitted, ${counters.refused} over a limit`,
    ],
    ['from clients', `${bytes(counters.bytesFromClients)}${rate(rates?.bytesFromClients)}`],
    ['from target', `${bytes(counters.bytesFromTarget)}${rate(rates?.bytesFromTarget)}`],
  ];
  const { datagramsFromClients: asked = 0, datagramsFromTarget: answered = 0 } = counters;
  if (asked + answered > 0) rows.push(['datagrams', `${asked} from clients, ${answered} from target`]);
  rows.push([
    'resets',
    `${counters.resetsByClient} by clients, ${counters.resetsByTarget} by target, ${counters.timedOut} by timeout`,
  ]);
  const { dials = [], dialMs = 0, held, heldMs, lastFailure } = counters;
  const count = dials.reduce((sum, dial) => sum + dial.count, 0);
  if (count > 0) rows.push(['connecting', `${duration(dialMs / count)} on average`]);
  if (held > 0) rows.push(['held', `${held} clients, ${duration(heldMs / held)} on average`]);
  if (lastFailure) rows.push(['last failure', `${moment(lastFailure.at)} ${lastFailure.reason}`]);
  return [list(rows)];
}

function table(titles: string[], rows: string[][], mono: number[]): Node {
  return element('div', { class: 'scroll' }, [
    element('table', {}, [
      element('thead', {}, [
        element(
          'tr',
          {},
          titles.map((text) => element('th', { text, attributes: { scope: 'col' } })),
        ),
      ]),
      element(
        'tbody',
        {},
        rows.map((cells) =>
          element(
            'tr',
            {},
            cells.map((text, at) => element('td', { text, class: mono.includes(at) ? 'mono' : 'nowrap' })),
          ),
        ),
      ),
    ]),
  ]);
}

function sessionTable(sessions: NonNullable<ShownDetails['sessions']>): Node {
  const rows = sessions.map((session) => [
    session.client,
    session.target || 'connecting',
    duration(session.ageMs),
    duration(session.idleMs),
    bytes(session.bytesFromClient),
    bytes(session.bytesFromTarget),
  ]);
  return table(['Client', 'Target', 'Age', 'Silent', 'From client', 'From target'], rows, [0, 1]);
}

function unitTable(units: ShownDetails['units']): Node {
  const rows = units.map(({ name, load, active, sub, since }) => [
    name,
    load === 'loaded' ? `${active} (${sub})` : load,
    since === 0 ? '' : moment(since),
  ]);
  return table(['Unit', 'State', 'Since'], rows, [0]);
}

function namespaceTable(namespaces: ShownDetails['namespaces']): Node {
  const rows = namespaces.map(({ place, addresses }) => [place, addresses.join(' ') || 'unknown']);
  return table(['Namespace', 'Addresses'], rows, [1]);
}

/** Priorities are those of syslog(3). */
function journalLines(lines: ShownDetails['journal']): Node {
  if (lines.length === 0) return element('p', { text: 'no line' });
  return element(
    'ol',
    { class: 'journal' },
    lines.map(({ time, source, priority, text }) => {
      const level = priority <= 3 ? 'error' : priority === 4 ? 'warning' : '';
      return element('li', { class: level }, [
        element('time', { text: `${moment(time)} `, attributes: { datetime: new Date(time).toISOString() } }),
        `${level === '' ? '' : `${level}: `}${source}: ${text}`,
      ]);
    }),
  );
}
