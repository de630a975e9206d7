import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ListedLink } from '../../src/api/listing-schema.ts';
import { svgOf } from '../../src/cli/graph-svg.ts';
import { dotOf, mermaidOf } from '../../src/cli/graph-text.ts';
import { selectLinks } from '../../src/cli/link-filter.ts';
import { buildGraph } from '../../src/links/graph-model.ts';

const test = suite('graph');

const end = (url: string, place = 'this host') => ({ url, place });
const link = (id: string, more: Partial<ListedLink> = {}): ListedLink => ({
  id,
  head: end(`tcp://127.0.0.1:${id}`),
  tail: end('tcp://127.0.0.1:3306', 'container mysql'),
  state: 'listening',
  detail: '',
  recipe: '',
  ...more,
});

test('an address is one node, also where the links of two machines meet', () => {
  const { machines, edges } = buildGraph([
    {
      machine: 'alpha',
      links: [
        link('1', { tail: end('tcp://127.0.0.1:2') }),
        link('2', { tail: end('tcp://10.0.0.2:61234', 'machine beta'), state: 'connected', tunnel: 'beta' }),
        link('gone', { state: 'deleted' }),
      ],
    },
    { machine: 'beta', links: [link('near-2', { head: end('tcp://10.0.0.2:61234'), state: 'failing' })] },
  ]);
  assert.equal(
    machines.map(({ label, places }) => [
      label,
      places.map((place) => [place.label, place.nodes.map((node) => node.label)]),
    ]),
    [
      ['machine alpha', [['this host', ['tcp://127.0.0.1:1', 'tcp://127.0.0.1:2']]]],
      [
        'machine beta',
        [
          ['this host', ['tcp://10.0.0.2:61234']],
          ['container mysql', ['tcp://127.0.0.1:3306']],
        ],
      ],
    ],
  );
  assert.equal(
    edges.map(({ from, to, id, tunnel }) => `${from} ${to} ${id} ${tunnel}`),
    ['n0 n1 1 false', 'n1 n2 2 true', 'n2 n3 near-2 false'],
  );
});

test('a link with several tails has an edge to each of them, and none of its own', () => {
  const part = (id: string, tail: ListedLink['tail']) =>
    link(id, { parent: '1', tailOf: '1', head: end(`unixpacket:///run/wormhole/hand-off/1/${id}`), tail });
  const { machines, edges } = buildGraph([
    {
      machine: 'alpha',
      links: [
        link('1', { tail: end('', '2 tails') }),
        part('1-to-web', end('tcp://127.0.0.1:80', 'container web')),
        part('1-to-beta', end('tcp://10.0.0.2:61234', 'machine beta')),
      ],
    },
  ]);
  assert.equal(
    machines.flatMap(({ places }) =>
      places.flatMap(({ label, nodes }) => nodes.map((node) => `${node.key} ${node.label} ${label}`)),
    ),
    [
      'n0 tcp://127.0.0.1:1 this host',
      'n1 tcp://127.0.0.1:80 container web',
      'n2 tcp://10.0.0.2:61234 this host',
    ],
  );
  assert.equal(
    edges.map(({ from, to, id }) => `${from} ${to} ${id}`),
    ['n0 n1 1-to-web', 'n0 n2 1-to-beta'],
  );
});

test('names that others have chosen stay text in each format', () => {
  const graph = buildGraph([
    { machine: 'a', links: [link('1', { head: end('tcp://127.0.0.1:1', 'netns "]; x\\n<b>&#x\u001b') })] },
  ]);
  assert.match(mermaidOf(graph), /^ {4}subgraph m0p0\["netns #34;]#59; x#92;n#60;b#62;#38;#35;x#65533;"\]$/m);
  assert.match(dotOf(graph), /^ {6}label="netns \\"]; x\\\\n<b>&#x\ufffd"$/m);
  const svg = svgOf(graph);
  assert.ok(svg.includes('>netns &#34;]; x\\n&#60;b&#62;&#38;#x\ufffd</text>'), svg);
  const odd = buildGraph([{ machine: 'a', links: [link('1', { head: end('', 'a\uffff\ufffe') })] }]);
  assert.not.match(svgOf(odd), /[\ufffe\uffff]/);
});

test('each link is an edge with its id and state, in its colour', () => {
  const graph = buildGraph([
    { machine: 'a', links: [link('1'), link('2', { state: 'failing' }), link('3', { tunnel: 'b' })] },
  ]);
  const mermaid = mermaidOf(graph);
  assert.match(mermaid, /^ {2}n0 -->\|"1"\| n1$/m);
  assert.match(mermaid, /^ {2}n2 -->\|"2 failing"\| n1$/m);
  assert.match(mermaid, /^ {2}n3 ==>\|"3"\| n1$/m);
  assert.match(mermaid, /^ {2}linkStyle 1 stroke:red$/m);
  assert.match(dotOf(graph), /^ {2}n2 -> n1 \[label="2 failing", color=red\]$/m);
  const svg = svgOf(graph);
  assert.is([...svg.matchAll(/<g class="edge/g)].length, 3);
  assert.is([...svg.matchAll(/<g class="node">/g)].length, 4);
  assert.not.match(svg, /NaN|undefined|<script|href/);
});

test('a drawing has every node inside it, and no two on top of each other', () => {
  const links = Array.from({ length: 60 }, (_, at) =>
    link(String(at), { tail: end(`tcp://127.0.0.1:${at % 5}`, `container c${at % 7}`) }),
  );
  const svg = svgOf(buildGraph([{ machine: 'a', links }]));
  const [, left, top, width, height] = (/viewBox="(\S+) (\S+) (\S+) (\S+)"/.exec(svg) ?? []).map(Number);
  const boxes = [...svg.matchAll(/<rect x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)"/g)].map(
    ([, x, y, w, h]) => ({ x: Number(x), y: Number(y), w: Number(w), h: Number(h) }),
  );
  assert.is(boxes.length, 60 + 35);
  for (const { x, y, w, h } of boxes) {
    assert.ok(x >= Number(left) && x + w <= Number(left) + Number(width), `${x} ${w}`);
    assert.ok(y >= Number(top) && y + h <= Number(top) + Number(height), `${y} ${h}`);
  }
  for (const [at, one] of boxes.entries())
    for (const other of boxes.slice(at + 1))
      assert.ok(
        one.x + one.w <= other.x ||
          other.x + other.w <= one.x ||
          one.y + one.h <= other.y ||
          other.y + other.h <= one.y,
        `${JSON.stringify(one)} ${JSON.stringify(other)}`,
      );
});

test('nothing is a graph, too', () => {
  const graph = buildGraph([{ machine: 'a', links: [] }]);
  assert.is(mermaidOf(graph), 'flowchart LR\n');
  assert.match(svgOf(graph), /^<svg [^>]*viewBox="-16 -16 32 32"/);
});

test('filters select links by state, machine and container', () => {
  const links = [
    link('1', { state: 'failing' }),
    link('2', { tail: end('', 'machine beta') }),
    link('3', { tunnel: 'beta', head: end('', 'container app') }),
    link('4', { owner: '3306 of beta', tail: end('', 'the container of link 4') }),
    link('5', { owner: '3306 of alphabeta', tail: end('') }),
  ];
  const ids = (filter: Parameters<typeof selectLinks>[1]) => selectLinks(links, filter).map(({ id }) => id);
  assert.equal(ids({}), ['1', '2', '3', '4', '5']);
  assert.equal(ids({ state: ['failing', 'failed'] }), ['1']);
  assert.equal(ids({ machine: 'beta' }), ['2', '3', '4']);
  assert.equal(ids({ container: 'mysql' }), ['1', '3']);
  assert.equal(ids({ container: '4' }), ['4']);
  assert.equal(ids({ machine: 'beta', container: 'app' }), ['3']);
});

test.run();
