import type { ListedLink } from '../api/listing-schema.js';
import type { Graph, GraphEdge } from '../links/graph-model.js';
import { printable } from '../text/printable.js';

/** The colour of a link in each state, as CSS and Graphviz know it; one without has the default. */
export const STATE_COLOURS: Partial<Record<ListedLink['state'], string>> = {
  connected: 'green',
  sleeping: 'gray',
  stopped: 'gray',
  waiting: 'orange',
  leaving: 'orange',
  failing: 'red',
  failed: 'red',
};

/** What stands at a link: its id, and its state unless it just listens. */
export function edgeLabel({ id, state }: GraphEdge): string {
  return state === 'listening' ? id : `${id} ${state}`;
}

/** A graph as Mermaid reads it (flowcharts, https://mermaid.js.org/syntax/flowchart.html). */
export function mermaidOf({ machines, edges }: Graph): string {
  const lines = ['flowchart LR'];
  for (const machine of machines) {
    lines.push(`  subgraph ${machine.key}[${mermaidText(machine.label)}]`);
    for (const place of machine.places) {
      lines.push(`    subgraph ${place.key}[${mermaidText(place.label)}]`);
      for (const node of place.nodes) lines.push(`      ${node.key}[${mermaidText(node.label)}]`);
      lines.push('    end');
    }
    lines.push('  end');
  }
  for (const edge of edges)
    lines.push(`  ${edge.from} ${edge.tunnel ? '==>' : '-->'}|${mermaidText(edgeLabel(edge))}| ${edge.to}`);
  for (const [index, { state }] of edges.entries()) {
    const colour = STATE_COLOURS[state];
    if (colour !== undefined) lines.push(`  linkStyle ${index} stroke:${colour}`);
  }
  return `${lines.join('\n')}\n`;
}

/** In quotes, with all that Mermaid could take for markup as `#CODE;`. */
function mermaidText(text: string): string {
  const escaped = printable(text).replace(
    /[^\p{L}\p{N} :/.,_@[\]()?=-]/gu,
    (char) => `#${char.codePointAt(0)};`,
  );
  return `"${escaped}"`;
}

/** A graph in the DOT language of Graphviz (https://graphviz.org/doc/info/lang.html). */
export function dotOf({ machines, edges }: Graph): string {
  const lines = [
    'digraph wormhole {',
    '  rankdir=LR',
    '  graph [fontname="sans-serif"]',
    '  node [shape=box, style=rounded, fontname="monospace", fontsize=11]',
    '  edge [fontname="sans-serif", fontsize=10]',
  ];
  for (const machine of machines) {
    lines.push(`  subgraph cluster_${machine.key} {`, `    label=${dotText(machine.label)}`);
    for (const place of machine.places) {
      lines.push(`    subgraph cluster_${place.key} {`, `      label=${dotText(place.label)}`);
      for (const node of place.nodes) lines.push(`      ${node.key} [label=${dotText(node.label)}]`);
      lines.push('    }');
    }
    lines.push('  }');
  }
  for (const edge of edges) {
    const colour = STATE_COLOURS[edge.state];
    const attributes = [
      `label=${dotText(edgeLabel(edge))}`,
      ...(colour === undefined ? [] : [`color=${colour}`]),
      ...(edge.tunnel ? ['style=bold'] : []),
    ];
    lines.push(`  ${edge.from} -> ${edge.to} [${attributes.join(', ')}]`);
  }
  return `${lines.join('\n')}\n}\n`;
}

/** A string of DOT, in which a backslash would begin an escape such as \n or \G. */
function dotText(text: string): string {
  return `"${printable(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
