import type { Overview } from '../overview.js';
import { element, icon, setChildren, setText, svgElement } from './dom.js';
import { perSecond } from './format.js';
import { nextInDirection } from './keys.js';
import { layOut, type MapLayout, type PlacedCard, type PlacedWire } from './map-layout.js';
import { type Card, type MapModel, mapModel } from './map-model.js';

type ShownLink = Overview['links'][number];

/** What is looked for: texts, and states. Everything is, if there is neither. */
export interface Filter {
  text: string;
  states: ReadonlySet<string>;
}

/** The map of links. */
export interface MapView {
  show(overview: Overview): void;
  filter(filter: Filter): void;
  /** Marks the link whose details are shown. */
  select(id: string | undefined): void;
  /** Puts the focus on a link; on the first one, if it is not drawn. */
  focus(id: string | undefined): void;
  /** Shows the links of all places again. Returns whether those of one were shown. */
  leavePlace(): boolean;
}

interface Drawn {
  layout: MapLayout;
  labels: Map<string, HTMLButtonElement>;
  wires: { placed: PlacedWire; group: SVGElement; flow: SVGElement }[];
  cards: { placed: PlacedCard; node: HTMLElement }[];
}

/** Below this many bytes a second, a wire does not move. */
const FLOWS = 1;

/** Wires move on a map with at most this many: to draw more of them for each frame is slow. */
const MOST_MOVING = 60;

/**
 * Draws the map into an element. A new layout is computed only when there are other links; figures change in place.
 *
 * @param open called with the id of a link that somebody wants to see
 */
export function createMap(root: HTMLElement, open: (id: string) => void): MapView {
  let drawn: Drawn | undefined;
  let shape = '';
  let links = new Map<string, ShownLink>();
  let wanted: Filter = { text: '', states: new Set() };
  let selected: string | undefined;
  let current: string | undefined;
  let place: string | undefined;

  root.addEventListener('keydown', (event) => {
    const focused = document.activeElement;
    const stops = [...root.querySelectorAll<HTMLElement>('button')];
    if (!(focused instanceof HTMLElement) || !stops.includes(focused)) return;
    const next = nextInDirection(event.key, focused, stops);
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  // One stop for the tab key: the one that had the focus last.
  root.addEventListener('focusin', ({ target }) => {
    for (const stop of root.querySelectorAll<HTMLElement>('button')) stop.tabIndex = stop === target ? 0 : -1;
    if (target instanceof HTMLElement) {
      current = target.dataset.link;
      target.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    }
  });

  const applyFilter = () => {
    if (!drawn) return;
    const inPlace = drawn.cards.find(({ placed }) => placed.card.key === place);
    root.classList.toggle('filtered', wanted.text !== '' || wanted.states.size > 0 || inPlace !== undefined);
    const own = inPlace && linksOf(drawn, inPlace.placed.card);
    const matching = new Set(
      [...links.values()]
        .filter((link) => matches(link, wanted) && own?.has(link.id) !== false)
        .map(({ id }) => id),
    );
    for (const card of drawn.cards)
      card.node.querySelector('button')?.setAttribute('aria-pressed', String(card === inPlace));
    const rows = new Set<string>();
    for (const { placed, group } of drawn.wires) {
      const isMatch = matching.has(placed.wire.link);
      group.classList.toggle('match', isMatch);
      if (isMatch) for (const row of [placed.wire.from, placed.wire.to]) rows.add(row);
    }
    for (const [id, label] of drawn.labels) label.classList.toggle('match', matching.has(id));
    for (const { placed, node } of drawn.cards)
      node.classList.toggle(
        'match',
        placed.card.rows.some(({ key }) => rows.has(key)),
      );
  };
  const showPlace = (key: string) => {
    place = key === place ? undefined : key;
    applyFilter();
  };
  const applySelection = () => {
    if (!drawn) return;
    for (const [id, label] of drawn.labels) label.setAttribute('aria-expanded', String(id === selected));
    for (const { placed, group } of drawn.wires)
      group.classList.toggle('selected', placed.wire.link === selected);
  };

  return {
    show(overview) {
      links = new Map(overview.links.map((link) => [link.id, link]));
      const model = mapModel(overview);
      const newShape = JSON.stringify(model, (key, value) =>
        key === 'tunnel' && value?.id ? value.id : value,
      );
      if (newShape !== shape) {
        shape = newShape;
        const hadFocus = root.contains(document.activeElement);
        drawn = draw(root, { model, machine: overview.machine, open, showPlace });
        if (hadFocus) focusOn(drawn, current);
        applySelection();
      }
      if (drawn) update(drawn, links, model);
      applyFilter();
    },
    filter(filter) {
      wanted = filter;
      applyFilter();
    },
    select(id) {
      selected = id;
      applySelection();
    },
    focus(id) {
      if (drawn) focusOn(drawn, id);
    },
    leavePlace() {
      const was = place;
      place = undefined;
      applyFilter();
      return was !== undefined;
    },
  };
}

function focusOn({ labels }: Drawn, id: string | undefined): void {
  const [first] = labels.values();
  (labels.get(id ?? '') ?? first)?.focus();
}

/** The links that leave a place, or lead to it. */
function linksOf({ wires }: Drawn, { rows }: Card): Set<string> {
  const own = new Set(rows.map(({ key }) => key));
  return new Set(
    wires.flatMap(({ placed: { wire } }) => (own.has(wire.from) || own.has(wire.to) ? wire.link : [])),
  );
}

/** Whether a link is looked for: by its state, and by any of its words. */
function matches(
  { id, state, recipe, head, tail, owner = '', tunnel = '' }: ShownLink,
  filter: Filter,
): boolean {
  const { states, text } = filter;
  if (states.size > 0 && !states.has(state)) return false;
  const words = [id, recipe, head.url, head.place, tail.url, tail.place, owner, tunnel]
    .join('\n')
    .toLowerCase();
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => words.includes(word));
}

interface Drawing {
  model: MapModel;
  machine: string;
  open: (id: string) => void;
  /** Shows the links of a place alone, or all again. */
  showPlace: (key: string) => void;
}

function draw(root: HTMLElement, { model, machine, open, showPlace }: Drawing): Drawn {
  const layout = layOut(model);
  if (layout.cards.length === 0) {
    const code = element('code', { text: 'wormhole create url :8080 tail url :80' });
    setChildren(root, [
      element('p', { class: 'empty' }, ['There is no link on this machine yet. ', code, ' creates one.']),
    ]);
    return { layout, labels: new Map(), wires: [], cards: [] };
  }
  const wires = layout.wires.map((placed) => {
    const flow = svgElement('path', { class: 'flow', d: placed.path });
    const group = svgElement('g', { class: 'wire' }, [svgElement('path', { d: placed.path })]);
    return { placed, group, flow };
  });
  const cards = layout.cards.map((placed) => ({ placed, node: drawCard(placed, showPlace) }));
  const labels = new Map<string, HTMLButtonElement>();
  for (const { wire, label } of layout.wires) {
    if (!label) continue;
    const button = element('button', {
      class: 'label',
      on: { click: () => open(wire.link) },
      attributes: { type: 'button', 'aria-expanded': 'false', 'data-link': wire.link, tabindex: -1 },
    });
    placeAt(button, label);
    labels.set(wire.link, button);
  }
  const { width, height } = layout;
  const svg = svgElement(
    'svg',
    { width, height, viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' },
    wires.map(({ group }) => group),
  );
  const canvas = element('div', { class: wires.length > MOST_MOVING ? 'canvas many' : 'canvas' });
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  if (layout.frame) {
    const title = element('h2', {}, [icon('machine'), element('span', { text: machine })]);
    const frame = element('div', { class: 'frame' }, [title]);
    placeAt(frame, layout.frame);
    canvas.append(frame);
  }
  canvas.append(svg, ...cards.map(({ node }) => node), ...labels.values());
  setChildren(root, [canvas]);
  const [first] = labels.values();
  if (first) first.tabIndex = 0;
  return { layout, labels, wires, cards };
}

function drawCard(placed: PlacedCard, showPlace: (key: string) => void): HTMLElement {
  const { key, title, about, kind, rows, tunnel } = placed.card;
  const node = element(
    'article',
    { class: `card ${kind}`, attributes: { 'aria-label': `${about} ${title}` } },
    [
      element('h3', {}, [
        element(
          'button',
          {
            on: { click: () => showPlace(key) },
            attributes: { type: 'button', tabindex: -1, title: `${title}: show its links alone` },
          },
          [
            icon(kind),
            element('span', { class: 'title', text: title }),
            element('span', { class: 'about', text: about }),
          ],
        ),
      ]),
      tunnel && element('div', { class: 'via' }, [icon('tunnel'), element('span')]),
      element(
        'ul',
        {},
        rows.map(({ label }) => element('li', { text: label, attributes: { title: label } })),
      ),
    ],
  );
  placeAt(node, placed);
  return node;
}

function placeAt(node: HTMLElement, box: { x: number; y: number; width: number; height: number }): void {
  node.style.left = `${box.x}px`;
  node.style.top = `${box.y}px`;
  node.style.width = `${box.width}px`;
  node.style.height = `${box.height}px`;
}

/** Changes what is told of links and tunnels, where they are drawn already. */
function update(drawn: Drawn, links: ReadonlyMap<string, ShownLink>, { cards }: MapModel): void {
  for (const [id, label] of drawn.labels) {
    const link = links.get(id);
    if (link) updateLabel(label, link);
  }
  for (const { placed, group, flow } of drawn.wires) {
    const link = links.get(placed.wire.link);
    const state = link?.state ?? 'deleted';
    const flows = total(link) >= FLOWS;
    for (const name of [...group.classList])
      if (!['wire', 'selected', 'match'].includes(name)) group.classList.remove(name);
    group.classList.add(state);
    group.classList.toggle('flows', flows);
    group.classList.toggle('tunnel', placed.wire.tunnel);
    group.classList.toggle('idle', state === 'listening' || (state === 'connected' && total(link) < FLOWS));
    if (flows !== flow.isConnected) {
      if (flows) group.append(flow);
      else flow.remove();
    }
  }
  const tunnels = new Map(cards.map((card) => [card.key, card.tunnel]));
  for (const { placed, node } of drawn.cards) updateTunnel(node, tunnels.get(placed.card.key));
}

function updateTunnel(node: HTMLElement, tunnel: Card['tunnel']): void {
  const via = node.querySelector('.via');
  const text = via?.querySelector('span');
  if (!via || !text || !tunnel) return;
  via.className = `via ${tunnel.state}`;
  setText(text, `tunnel ${tunnel.state}, ESP${tunnel.mode === 'udp' ? ' in UDP' : ''}`);
}

function total(link: ShownLink | undefined): number {
  return (link?.rates?.fromClients ?? 0) + (link?.rates?.fromTarget ?? 0);
}

function updateLabel(label: HTMLButtonElement, link: ShownLink): void {
  const { id, state, detail, rates, counters } = link;
  const flows = total(link) >= FLOWS;
  const rate = flows
    ? `→ ${perSecond(rates?.fromClients ?? 0)}  ← ${perSecond(rates?.fromTarget ?? 0)}`
    : state === 'connected'
      ? `${counters?.open ?? 0} open`
      : state;
  if (label.dataset.state !== state) {
    label.dataset.state = state;
    label.className = `label ${state}${label.classList.contains('match') ? ' match' : ''}`;
    setChildren(label, [icon(state), element('span', { class: 'id' }), element('span', { class: 'rate' })]);
  }
  const [name, figure] = [label.querySelector('.id'), label.querySelector('.rate')];
  if (name) setText(name, id);
  if (figure) setText(figure, rate);
  figure?.classList.toggle('flows', flows);
  const words = `link ${id}, ${state}${detail === '' ? '' : ` ${detail}`}${flows ? `, ${rate}` : ''}`;
  label.setAttribute('aria-label', words);
  label.title = words;
}
