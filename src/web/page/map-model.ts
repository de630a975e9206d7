import { buildGraph, type GraphPlace } from '../../links/graph-model.js';
import type { Overview } from '../overview.js';

type ListedLink = Overview['links'][number];

/** A host, a container or a namespace of this machine, or another machine, with the addresses in it that links have. */
export interface Card {
  key: string;
  title: string;
  /** What it is, in words. */
  about: string;
  kind: 'host' | 'container' | 'namespace' | 'machine';
  /** On this machine; or another one, which links come from (`before`) or lead to (`after`). */
  column: 'before' | 'here' | 'after';
  rows: Row[];
  /** The tunnel to another machine, if there is one. */
  tunnel?: Overview['tunnels'][number];
}

/** An address, or a link of another machine. */
export interface Row {
  key: string;
  label: string;
}

/** A link, from one row to another; or where one of another machine arrives, which has no label. */
export interface Wire {
  key: string;
  link: string;
  from: string;
  to: string;
  tunnel: boolean;
  labelled: boolean;
}

/** What the map draws. What is the same in two models is drawn at the same place. */
export interface MapModel {
  cards: Card[];
  wires: Wire[];
}

/** The cards and wires of the links of this machine. */
export function mapModel({ machine, links, tunnels }: Overview): MapModel {
  const graph = buildGraph([{ machine, links }]);
  const others = new Map(links.map((link) => [link.id, link]));
  const cards: Card[] = [];
  const wires: Wire[] = [];
  const nodes = new Map<string, { place: string; outs: number }>();
  for (const { places } of graph.machines)
    for (const place of places)
      for (const { key } of place.nodes) nodes.set(key, { place: place.key, outs: 0 });
  const depths = depthsOf(graph.edges);
  const own = graph.machines.find(({ label }) => label === `machine ${machine}`);
  const host = own?.places.find(({ label }) => label === 'this host')?.key;
  const divided = placesToDivide(graph.edges, { nodes, depths, host });
  for (const { label, places } of graph.machines)
    for (const place of places) {
      const isOwn = own?.places.includes(place) ?? false;
      const name = label.replace(/^machine /, '');
      const about = isOwn
        ? describe(place.label)
        : { title: name, about: 'machine', kind: 'machine' as const };
      for (const [part, rows] of partsOf(place, divided.has(place.key) ? depths : undefined))
        cards.push({
          key: `${isOwn ? '' : `${label}, `}${place.label}${part}`,
          ...about,
          column: isOwn ? 'here' : 'after',
          rows,
        });
    }
  const rowOf = (node: string, slot: number) => (slot === 0 ? node : `${node}+${slot}`);
  for (const { from, to, id, tunnel } of graph.edges) {
    const node = nodes.get(from);
    const slot = node ? node.outs++ : 0;
    // Each link of a head with several tails has a row of its own.
    if (slot > 0) {
      const card = cards.find(({ rows }) => rows.some(({ key }) => key === from));
      const at = card?.rows.findIndex(({ key }) => key === rowOf(from, slot - 1)) ?? 0;
      card?.rows.splice(at + 1, 0, { key: rowOf(from, slot), label: '' });
    }
    wires.push({ key: id, link: id, from: rowOf(from, slot), to, tunnel, labelled: true });
    const owner = others.get(id)?.owner;
    if (owner !== undefined) addOwner({ owner, id, head: from, tunnel }, cards, wires);
  }
  for (const tunnel of tunnels) {
    const found = cards.filter(({ kind, title }) => kind === 'machine' && title === tunnel.peer);
    for (const card of found) card.tunnel = tunnel;
    if (found.length === 0)
      cards.push({
        ...{ key: `tunnel ${tunnel.peer}`, title: tunnel.peer, about: 'machine', kind: 'machine' },
        ...{ column: 'after', rows: [], tunnel },
      });
  }
  return { cards, wires };
}

/** Draws that a link of another machine, `3306 of alpha`, arrives at the head of our part of it. */
function addOwner(
  { owner, id, head, tunnel }: { owner: string; id: string; head: string; tunnel: boolean },
  cards: Card[],
  wires: Wire[],
): void {
  const [, link = '', machine = ''] = /^(\S+) of (.+)$/.exec(owner) ?? [];
  const key = `before ${machine}`;
  let card = cards.find((one) => one.key === key);
  if (!card) {
    card = { key, title: machine, about: 'machine', kind: 'machine', column: 'before', rows: [] };
    cards.push(card);
  }
  const row = `${key} ${link}`;
  if (!card.rows.some((one) => one.key === row)) card.rows.push({ key: row, label: `link ${link}` });
  wires.push({ key: `${id} of ${machine}`, link: id, from: row, to: head, tunnel, labelled: false });
}

/** What a place is, by the words of `wormhole list`. */
function describe(words: string): Pick<Card, 'title' | 'about' | 'kind'> {
  if (words === 'this host') return { title: 'this host', about: 'host', kind: 'host' };
  const [, about = '', title = ''] = /^(container|netns) (.+)$/.exec(words) ?? [];
  if (about === 'container') return { title, about, kind: 'container' };
  if (about === 'netns') return { title, about: 'network namespace', kind: 'namespace' };
  const [, link = words] = /^the container of link (.+)$/.exec(words) ?? [];
  return { title: link, about: 'on demand', kind: 'container' };
}

type Edges = { from: string; to: string }[];
type Nodes = ReadonlyMap<string, { place: string }>;

/** How often places are looked for that have to be divided. */
const MOST_ROUNDS = 50;

interface Layers {
  nodes: Nodes;
  depths: ReadonlyMap<string, number>;
  /** The place that is divided first. */
  host: string | undefined;
}

/** Places to divide by depth, so that links do not lead in a loop from place to place: as few as are found by dividing this host first. */
function placesToDivide(edges: Edges, { nodes, depths, host }: Layers): Set<string> {
  const divided = new Set<string>();
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const placeOf = (node: string) => {
      const place = nodes.get(node)?.place ?? '';
      return divided.has(place) ? `${place} ${depths.get(node) ?? 0}` : place;
    };
    const found = [...placesInLoops(edges, placeOf)].filter((place) => !place.includes(' '));
    const [next] = host !== undefined && found.includes(host) ? [host] : found;
    if (next === undefined) break;
    divided.add(next);
  }
  return divided;
}

/** Places that links lead out of and, also by way of other places, back into. */
function placesInLoops(edges: Edges, placeOf: (node: string) => string): Set<string> {
  const next = new Map<string, Set<string>>();
  for (const { from, to } of edges) {
    const [one, other] = [placeOf(from), placeOf(to)];
    next.set(one, (next.get(one) ?? new Set()).add(other));
  }
  const reaches = (start: string): boolean => {
    const seen = new Set<string>();
    const left = [...(next.get(start) ?? [])];
    for (let place = left.pop(); place !== undefined; place = left.pop()) {
      if (place === start) return true;
      if (seen.has(place)) continue;
      seen.add(place);
      left.push(...(next.get(place) ?? []));
    }
    return false;
  };
  return new Set([...next.keys()].filter(reaches));
}

/** How many links lead to each address, one after the other. */
function depthsOf(edges: Edges): Map<string, number> {
  const depths = new Map<string, number>();
  // Links that lead in a circle would go on for ever.
  for (let round = 0; round < 16; round++) {
    let changed = false;
    for (const { from, to } of edges) {
      const depth = (depths.get(from) ?? 0) + 1;
      if (depth <= (depths.get(to) ?? 0)) continue;
      depths.set(to, depth);
      changed = true;
    }
    if (!changed) break;
  }
  return depths;
}

/** The rows of a place; one in a loop is drawn several times, so that all wires lead to the right. */
function partsOf(place: GraphPlace, depths: Map<string, number> | undefined): [string, Row[]][] {
  const parts = new Map<string, Row[]>();
  for (const { key, label } of place.nodes) {
    const part = depths ? ` ${depths.get(key) ?? 0}` : '';
    parts.set(part, [...(parts.get(part) ?? []), { key, label: label.replace(/(^|, )tcp:\/\//g, '$1') }]);
  }
  return [...parts];
}

/** What needs somebody stands first. */
const ORDER: ListedLink['state'][] = [
  ...(['failed', 'failing', 'waiting', 'connected', 'listening'] as const),
  ...(['sleeping', 'stopped', 'leaving', 'deleted'] as const),
];

/** The states of links that are drawn, with their links. */
export function byState(links: ListedLink[]): Map<ListedLink['state'], ListedLink[]> {
  const states = new Map<ListedLink['state'], ListedLink[]>();
  for (const state of ORDER) if (links.some((link) => link.state === state)) states.set(state, []);
  for (const link of links) states.set(link.state, [...(states.get(link.state) ?? []), link]);
  return states;
}
