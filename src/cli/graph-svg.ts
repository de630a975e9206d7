import { graphlib, layout } from '@dagrejs/dagre';
import type { Graph, GraphEdge } from '../links/graph-model.js';
import { printable } from '../text/printable.js';
import { edgeLabel, STATE_COLOURS } from './graph-text.js';

/** Sizes in pixels. A letter of the monospace font is 0.6 of its size wide; the other font is rarely wider. */
const NODE_FONT = 12;
const LABEL_FONT = 11;
const LETTER = 0.62;
const NODE_HEIGHT = 38;
const MARGIN = 16;
/** It fits light and dark backgrounds. */
const STYLE = `
text { font: ${LABEL_FONT}px sans-serif; fill: #222; text-anchor: middle; }
.node .url { font: ${NODE_FONT}px monospace; }
.node rect { fill: #fff; stroke: #888; }
.edge { color: #48c; }
.edge path { fill: none; stroke: currentColor; stroke-width: 1.5; }
.edge.tunnel path { stroke-width: 3; }
.edge polygon { fill: currentColor; }
.edge text { paint-order: stroke; stroke: #fff; stroke-width: 3px; }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd; }
  .node rect { fill: #222; }
  .edge text { stroke: #222; }
}`;

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

interface Point {
  x: number;
  y: number;
}

/** A node as it is drawn: its address, and below it where that is. */
interface Drawn {
  key: string;
  url: string;
  place: string;
}

/** A graph as a drawing in SVG, laid out by dagre. It names no other file, and has no script. */
export function svgOf(graph: Graph): string {
  const drawn = graph.machines.flatMap((machine) =>
    machine.places.flatMap((place) =>
      place.nodes.map(({ key, label }) => ({
        ...{ key, url: label },
        place: graph.machines.length === 1 ? place.label : `${place.label}, ${machine.label}`,
      })),
    ),
  );
  const laid = layOut(drawn, graph.edges);
  const nodes = drawn.map((node) => drawNode(node, laid.node(node.key)));
  const edges = graph.edges.map((edge, at) => {
    const { points, x, y } = laid.edge(edge.from, edge.to, String(at));
    return drawEdge(edge, points, { x, y });
  });
  // The layout of nothing has no size.
  const { width = 0, height = 0 } = drawn.length === 0 ? {} : laid.graph();
  const [w, h] = [round(width + 2 * MARGIN), round(height + 2 * MARGIN)];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${-MARGIN} ${-MARGIN} ${w} ${h}" width="${w}" height="${h}">`,
    '<title>Links of Wormhole</title>',
    `<style>${STYLE}\n</style>`,
    ...edges,
    ...nodes,
    '</svg>\n',
  ].join('\n');
}

/**
 * Lays out the nodes from left to right. Frames around places and machines, which dagre can do too, take it 15 s for 300 links, and
 * its better rankers ten times as long as this one, which suits graphs that are hardly more than pairs.
 */
function layOut(nodes: Drawn[], edges: GraphEdge[]) {
  const laid = new graphlib.Graph({ multigraph: true });
  laid.setGraph({ rankdir: 'LR', nodesep: 14, ranksep: 40, edgesep: 12, ranker: 'longest-path' });
  for (const { key, url, place } of nodes) {
    const width = 16 + Math.max(textWidth(url, NODE_FONT), textWidth(place, LABEL_FONT));
    laid.setNode(key, { width, height: NODE_HEIGHT });
  }
  for (const [at, edge] of edges.entries()) {
    const label = { width: textWidth(edgeLabel(edge), LABEL_FONT) + 8, height: 16, labelpos: 'c' };
    laid.setEdge(edge.from, edge.to, label, String(at));
  }
  layout(laid, { disableOptimalOrderHeuristic: true });
  return laid;
}

function textWidth(text: string, font: number): number {
  return [...text].length * font * LETTER;
}

function drawNode({ url, place }: Drawn, box: Box): string {
  const [x, y] = [round(box.x), round(box.y)];
  const texts = `<text class="url" x="${x}" y="${round(y - 3)}">${xmlText(url)}</text><text x="${x}" y="${round(y + 12)}">${xmlText(place)}</text>`;
  return `<g class="node">${rectangle(box)}${texts}</g>`;
}

function rectangle({ x, y, width, height }: Box): string {
  return `<rect x="${round(x - width / 2)}" y="${round(y - height / 2)}" width="${round(width)}" height="${round(height)}" rx="4"/>`;
}

/** A line through the points, with the head of an arrow at its end, and the label at `middle`. */
function drawEdge(edge: GraphEdge, points: Point[], middle: Point): string {
  const colour = STATE_COLOURS[edge.state];
  const path = points.map(({ x, y }, at) => `${at === 0 ? 'M' : 'L'}${round(x)} ${round(y)}`).join('');
  const attributes = [
    `class="edge${edge.tunnel ? ' tunnel' : ''}"`,
    ...(colour === undefined ? [] : [`style="color: ${colour}"`]),
  ].join(' ');
  const text = `<text x="${round(middle.x)}" y="${round(middle.y + 4)}">${xmlText(edgeLabel(edge))}</text>`;
  return `<g ${attributes}><path d="${path}"/>${arrowHead(points)}${text}</g>`;
}

function arrowHead(points: Point[]): string {
  const [from, to] = [points.at(-2), points.at(-1)];
  if (!from || !to) return '';
  const angle = Math.atan2(to.y - from.y, to.x - from.x);
  const corner = (turn: number): string =>
    `${round(to.x - 8 * Math.cos(angle + turn))},${round(to.y - 8 * Math.sin(angle + turn))}`;
  return `<polygon points="${round(to.x)},${round(to.y)} ${corner(0.4)} ${corner(-0.4)}"/>`;
}

function round(number: number): number {
  return Math.round(number * 10) / 10;
}

function xmlText(text: string): string {
  // XML has no characters with the last two numbers of a plane (XML 1.0, 2.2).
  return printable(text)
    .replace(/[\uFFFE\uFFFF]/g, '\uFFFD')
    .replace(/[&<>"']/g, (char) => `&#${char.codePointAt(0)};`);
}
