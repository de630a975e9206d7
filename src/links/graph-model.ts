import type { ListedEnd, ListedLink } from '../api/listing-schema.js';

/** The links of one machine. */
export interface MachineLinks {
  machine: string;
  links: ListedLink[];
}

/** An address at which something listens, in a place of a machine. */
export interface GraphNode {
  /** `n0`, `n1`, … */
  key: string;
  label: string;
}

/** A host, a container or a namespace. */
export interface GraphPlace {
  key: string;
  label: string;
  nodes: GraphNode[];
}

export interface GraphMachine {
  key: string;
  label: string;
  places: GraphPlace[];
}

/** A link. `tunnel` says that it goes through one. */
export interface GraphEdge {
  from: string;
  to: string;
  id: string;
  state: ListedLink['state'];
  tunnel: boolean;
}

/** Links as a graph: machines, the places in them, the addresses in these, and links from one address to another. */
export interface Graph {
  machines: GraphMachine[];
  edges: GraphEdge[];
}

interface Building extends GraphMachine {
  byLabel: Map<string, GraphPlace>;
}

/**
 * The graph of the links of some machines. An address that is the tail of one link and the head of another is one node, also when
 * the one belongs to another machine, which is called as its links call it.
 */
export function buildGraph(of: MachineLinks[]): Graph {
  const machines = new Map<string, Building>();
  const edges: GraphEdge[] = [];
  let count = 0;
  const machineOf = (name: string): Building => {
    const known = machines.get(name);
    if (known) return known;
    const machine: Building = {
      ...{ key: `m${machines.size}`, label: `machine ${name}` },
      ...{ places: [], byLabel: new Map() },
    };
    machines.set(name, machine);
    return machine;
  };
  const nodeOf = (own: string, { url, place, also = [] }: ListedEnd): string => {
    const other = /^machine (.+)$/.exec(place)?.[1];
    const machine = machineOf(other ?? own);
    const words = other === undefined ? place : 'this host';
    let found = machine.byLabel.get(words);
    if (!found) {
      found = { key: `${machine.key}p${machine.places.length}`, label: words, nodes: [] };
      machine.byLabel.set(words, found);
      machine.places.push(found);
    }
    // It is unknown until the other machine has created its part.
    const label = [url, ...also].filter((text) => text !== '').join(', ') || '?';
    const known = found.nodes.find((node) => node.label === label);
    if (known) return known.key;
    const node = { key: `n${count++}`, label };
    found.nodes.push(node);
    return node.key;
  };
  for (const { machine, links } of of)
    for (const { id, head, tail, state, tunnel, tailOf } of links) {
      // In a link with several tails, an edge leads to each of them.
      if (state === 'deleted' || links.some((one) => one.tailOf === id)) continue;
      const front = links.find((one) => one.id === tailOf);
      edges.push({
        from: nodeOf(machine, front?.head ?? head),
        to: nodeOf(machine, tail),
        ...{ id, state, tunnel: tunnel !== undefined },
      });
    }
  return {
    machines: [...machines.values()].map(({ key, label, places }) => ({ key, label, places })),
    edges,
  };
}
