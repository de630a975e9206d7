import { graphlib, layout } from '@dagrejs/dagre';
import type { Card, MapModel, Wire } from './map-model.js';

/** Sizes in pixels. page.css has the same. */
export const ROW = 28;
export const HEADER = 46;
export const TUNNEL = 24;
const PADDING = 8;
const LETTER = 7.3;
const FRAME = 24;
const FRAME_TITLE = 38;
const MARGIN = 28;
/** Between a card and the label of a wire that leaves it, and behind that. */
export const LEAD = 16;
const RATES = 162;

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Where a card is, and its rows in the order in which they are drawn. */
export interface PlacedCard extends Box {
  card: Card;
}

/** The path of a wire, as SVG has it, and where its label is. */
export interface PlacedWire {
  wire: Wire;
  path: string;
  label?: Box;
}

export interface MapLayout {
  width: number;
  height: number;
  /** Around what is on this machine; absent when nothing is. */
  frame?: Box;
  cards: PlacedCard[];
  wires: PlacedWire[];
}

interface Point {
  x: number;
  y: number;
}

/**
 * Lays out cards from left to right by dagre, and wires between their rows. What is on this machine is between what comes from other
 * machines and what leads to them. The labels of wires are beside the rows that these leave, where each has a height of its own.
 */
export function layOut(model: MapModel): MapLayout {
  const cards = model.cards.map((card) => ({ ...card, rows: [...card.rows] }));
  const cardOf = new Map(cards.flatMap((card) => card.rows.map((row) => [row.key, card] as const)));
  const labels = labelWidths(model.wires, cardOf);
  const graph = place(cards, model.wires, cardOf, labels);
  const centre = (card: Card): Point => graph.node(card.key) as Point;
  orderRows(cards, model.wires, cardOf, (card) => centre(card).y);
  const room = (card: Card) => cardWidth(card) + (labels.get(card.key) ?? 0);
  // dagre centres what is above each other; the left sides are in a line here.
  const widest = new Map<number, number>();
  for (const card of cards) {
    const { x } = centre(card);
    widest.set(x, Math.max(widest.get(x) ?? 0, room(card)));
  }
  const placed = cards.map((card) => {
    const { x, y } = centre(card);
    const [width, height] = [cardWidth(card), cardHeight(card)];
    return { card, x: x - (widest.get(x) ?? 0) / 2, y: y - height / 2, width, height };
  });
  if (placed.length === 0) return { width: 0, height: 0, cards: [], wires: [] };
  const offset = {
    x: MARGIN + FRAME - Math.min(...placed.map(({ x }) => x)),
    y: MARGIN + FRAME_TITLE - Math.min(...placed.map(({ y }) => y)),
  };
  const moved = placed.map((one) => ({ ...one, x: one.x + offset.x, y: one.y + offset.y }));
  const boxes = new Map(moved.map((one) => [one.card.key, one]));
  const wires = placeWires({ wires: model.wires, boxes, labels, graph, cardOf, offset });
  return { ...sizeOf(moved, wires), ...frameAround(moved, wires), cards: moved, wires };
}

type Owners = ReadonlyMap<string, Card>;

/** The room for the labels of the wires that leave a card, by its key. */
function labelWidths(wires: Wire[], cardOf: Owners): Map<string, number> {
  const widths = new Map<string, number>();
  for (const { from, link, labelled } of wires) {
    const key = cardOf.get(from)?.key ?? '';
    const width = labelled ? LEAD + labelWidth(link) + LEAD / 2 : 0;
    widths.set(key, Math.max(widths.get(key) ?? 0, width));
  }
  return widths;
}

function labelWidth(id: string): number {
  return 34 + Math.min(20, [...id].length) * LETTER + RATES;
}

function cardWidth({ title, rows }: Card): number {
  const longest = Math.max([...title].length + 4, ...rows.map(({ label }) => [...label].length));
  return Math.min(300, Math.max(132, 30 + longest * LETTER));
}

function cardHeight({ rows, tunnel }: Card): number {
  return HEADER + (tunnel ? TUNNEL : 0) + rows.length * ROW + PADDING;
}

function place(cards: Card[], wires: Wire[], cardOf: Owners, labels: Map<string, number>) {
  const graph = new graphlib.Graph();
  const ranker = cards.length > 100 ? 'longest-path' : 'network-simplex';
  graph.setGraph({ rankdir: 'LR', nodesep: 24, ranksep: 56, edgesep: 10, ranker });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const card of cards)
    graph.setNode(card.key, {
      width: cardWidth(card) + (labels.get(card.key) ?? 0),
      height: cardHeight(card),
    });
  const counts = new Map<string, number>();
  for (const { from, to } of wires) {
    const [one, other] = [cardOf.get(from)?.key, cardOf.get(to)?.key];
    if (one === undefined || other === undefined || one === other) continue;
    const count = (counts.get(`${one}\n${other}`) ?? 0) + 1;
    counts.set(`${one}\n${other}`, count);
    graph.setEdge(one, other, { width: 0, height: count * 4, labelpos: 'c', weight: count });
  }
  separate(cards, graph);
  layout(graph, { disableOptimalOrderHeuristic: cards.length > 100 });
  return graph;
}

type Laid = ReturnType<typeof place>;

/** Keeps other machines on their sides of this one. */
function separate(cards: Card[], graph: InstanceType<typeof graphlib.Graph>): void {
  const keys = (column: Card['column']) =>
    cards.filter((card) => card.column === column).map(({ key }) => key);
  const [before, here, after] = [keys('before'), keys('here'), keys('after')];
  if (here.length === 0) return;
  const wall = (key: string, from: string[], to: string[]): void => {
    graph.setNode(key, { width: 0, height: 0 });
    for (const one of from) graph.setEdge(one, key, { weight: 0 });
    for (const other of to) graph.setEdge(key, other, { weight: 0 });
  };
  const ends = new Set([...before, ...after]);
  const isStart = (key: string) =>
    (graph.predecessors(key) ?? []).every((one: unknown) => ends.has(String(one)));
  const isEnd = (key: string) => (graph.successors(key) ?? []).every((one: unknown) => ends.has(String(one)));
  const [starts, lasts] = [here.filter(isStart), here.filter(isEnd)];
  if (before.length > 0) wall('\nbefore', before, starts);
  if (after.length > 0) wall('\nafter', lasts, after);
}

/** Orders the rows of cards as what they are connected to is, from top to bottom. */
function orderRows(cards: Card[], wires: Wire[], cardOf: Owners, y: (card: Card) => number): void {
  const others = new Map<string, string[]>();
  for (const { from, to } of wires) {
    others.set(from, [...(others.get(from) ?? []), to]);
    others.set(to, [...(others.get(to) ?? []), from]);
  }
  const rowY = (key: string): number => {
    const card = cardOf.get(key);
    return card ? y(card) + card.rows.findIndex((row) => row.key === key) * ROW : 0;
  };
  for (let round = 0; round < 2; round++)
    for (const card of cards) {
      const weight = new Map(
        card.rows.map(({ key }) => {
          // The rows of one head stay together.
          const head = key.split('+')[0] ?? key;
          const own = card.rows.filter((row) => row.key === head || row.key.startsWith(`${head}+`));
          const ys = own.flatMap((row) => others.get(row.key) ?? []).map(rowY);
          return [key, ys.reduce((sum, one) => sum + one, 0) / Math.max(1, ys.length)] as const;
        }),
      );
      card.rows.sort((one, other) => (weight.get(one.key) ?? 0) - (weight.get(other.key) ?? 0));
    }
}

interface Wiring {
  wires: Wire[];
  boxes: ReadonlyMap<string, PlacedCard>;
  labels: ReadonlyMap<string, number>;
  graph: Laid;
  cardOf: Owners;
  /** From the points of dagre to those of the map. */
  offset: Point;
}

function placeWires({ wires, boxes, labels, graph, cardOf, offset }: Wiring): PlacedWire[] {
  const counts = new Map<string, number>();
  return wires.flatMap((wire) => {
    const [from, to] = [cardOf.get(wire.from)?.key ?? '', cardOf.get(wire.to)?.key ?? ''];
    const [source, target] = [boxes.get(from), boxes.get(to)];
    if (!source || !target) return [];
    const start = { x: source.x + source.width, y: rowCentre(source, wire.from) };
    const end = { x: target.x, y: rowCentre(target, wire.to) };
    // Behind the labels of all wires of the card.
    const free = { x: start.x + (labels.get(from) ?? 0), y: start.y };
    const index = counts.get(`${from}\n${to}`) ?? 0;
    counts.set(`${from}\n${to}`, index + 1);
    const points: Point[] = from === to ? [] : (graph.edge(from, to).points ?? []);
    // Where it passes other cards.
    const between = points.length <= 3 ? [] : points.slice(1, -1);
    const turns = between
      .map(({ x, y }) => ({ x: x + offset.x, y: y + offset.y + index * 4 }))
      .filter(({ x }) => x > free.x + 10 && x < end.x - 10);
    const width = labelWidth(wire.link);
    const label = { x: start.x + LEAD, y: start.y - 11, width, height: 22 };
    return {
      wire,
      path: `M${round(start.x)} ${round(start.y)}H${round(free.x)}${curve([free, ...turns, end])}`,
      ...(wire.labelled && { label }),
    };
  });
}

function rowCentre({ card, y }: PlacedCard, row: string): number {
  const at = card.rows.findIndex(({ key }) => key === row);
  return y + HEADER + (card.tunnel ? TUNNEL : 0) + at * ROW + ROW / 2;
}

/** A line that leaves and enters each point to the right. */
function curve([first, ...others]: Point[]): string {
  let from = first as Point;
  return others
    .map((to) => {
      // One that leads back swings out.
      const reach = Math.max(Math.abs(to.x - from.x) / 2, to.x < from.x ? 120 : 24);
      const text = `C${round(from.x + reach)} ${round(from.y)} ${round(to.x - reach)} ${round(to.y)} ${round(to.x)} ${round(to.y)}`;
      from = to;
      return text;
    })
    .join('');
}

function sizeOf(cards: PlacedCard[], wires: PlacedWire[]): { width: number; height: number } {
  const labels = wires.flatMap(({ label }) => label ?? []);
  const right = Math.max(...[...cards, ...labels].map(({ x, width }) => x + width));
  const bottom = Math.max(...cards.map(({ y, height }) => y + height));
  return { width: right + FRAME + MARGIN, height: bottom + FRAME + MARGIN };
}

/** Around the cards of this machine, and the labels of the wires that leave them. */
function frameAround(cards: PlacedCard[], wires: PlacedWire[]): { frame?: Box } {
  const here = cards.filter(({ card }) => card.column === 'here');
  if (here.length === 0) return {};
  const rows = new Set(here.flatMap(({ card }) => card.rows.map(({ key }) => key)));
  const labels = wires.flatMap(({ wire, label }) => (label && rows.has(wire.from) ? [label] : []));
  const x = Math.min(...here.map((one) => one.x)) - FRAME;
  const y = Math.min(...here.map((one) => one.y)) - FRAME_TITLE;
  const right = Math.max(...[...here, ...labels].map((one) => one.x + one.width)) + FRAME;
  const bottom = Math.max(...here.map((one) => one.y + one.height)) + FRAME;
  return { frame: { x, y, width: right - x, height: bottom - y } };
}

function round(number: number): number {
  return Math.round(number * 10) / 10;
}
