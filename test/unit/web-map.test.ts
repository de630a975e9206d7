import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ListedEnd } from '../../src/api/listing-schema.ts';
import type { Overview } from '../../src/web/overview.ts';
import { nextInDirection } from '../../src/web/page/keys.ts';
import { type Box, layOut } from '../../src/web/page/map-layout.ts';
import { mapModel } from '../../src/web/page/map-model.ts';

const test = suite('map of the page');

type Shown = Overview['links'][number];

const end = (port: number, place = 'this host'): ListedEnd => ({ url: `tcp://127.0.0.1:${port}`, place });
const link = (id: string, head: ListedEnd, tail: ListedEnd, more: Partial<Shown> = {}): Shown => ({
  ...{ id, head, tail, state: 'listening', detail: '', recipe: '' },
  ...more,
});
const overview = (links: Shown[], tunnels: Overview['tunnels'] = []): Overview => ({
  ...{ machine: 'alpha', at: 0, next: 0, links, unreadable: [], tunnels },
});
const tunnel: Overview['tunnels'][number] = {
  ...{
    id: '1',
    peer: 'gamma',
    mode: 'esp',
    local: '',
    remote: '',
    address: '',
    peerAddress: '',
    state: 'up',
  },
  ...{ detail: '', keyAge: null, lastRekey: null, received: { bytes: 0, packets: 0 } },
  sent: { bytes: 0, packets: 0 },
};

test('places are cards, and what is outside of this machine is beside it', () => {
  const { cards, wires } = mapModel(
    overview(
      [
        link('a', end(1), end(80, 'container web')),
        link('b', end(3306, 'container web'), end(3306, 'container db')),
        link('c', end(2), end(9, 'machine beta')),
        link('d', end(3), end(80, 'container web'), { owner: '80 of delta' }),
        link('e', end(4), end(5, 'netns blue')),
        link('gone', end(0), end(0), { state: 'deleted' }),
      ],
      [tunnel],
    ),
  );
  assert.equal(
    cards.map(({ title, kind, column, rows }) => `${column} ${kind} ${title}: ${rows.length}`).sort(),
    [
      'after machine beta: 1',
      'after machine gamma: 0',
      'before machine delta: 1',
      'here container db: 1',
      'here container web: 2',
      'here host this host: 4',
      'here namespace blue: 1',
    ],
  );
  assert.equal(wires.map(({ key, labelled }) => `${key} ${labelled}`).sort(), [
    'a true',
    'b true',
    'c true',
    'd of delta false',
    'd true',
    'e true',
  ]);
  assert.is(cards.find(({ title }) => title === 'gamma')?.tunnel, tunnel);
});

test('a place that links lead out of and into is drawn several times, from left to right', () => {
  const { cards } = mapModel(
    overview([
      link('a', end(1), end(2)),
      link('b', end(2), end(3)),
      link('c', end(4, 'container x'), end(3)),
    ]),
  );
  assert.equal(
    cards.map(({ title, rows }) => `${title} ${rows.map(({ label }) => label).join(' ')}`),
    ['this host 127.0.0.1:1', 'this host 127.0.0.1:2', 'this host 127.0.0.1:3', 'x 127.0.0.1:4'],
  );
});

test('each tail of a head with several has a row', () => {
  const tails = { url: '', place: '2 tails' };
  const part = (id: string, port: number) => link(id, end(0), end(port), { parent: 'lb', tailOf: 'lb' });
  const { cards, wires } = mapModel(overview([link('lb', end(1), tails), part('lb-1', 2), part('lb-2', 3)]));
  assert.equal(
    wires.map(({ from }) => from),
    ['n0', 'n0+1'],
  );
  assert.is(cards.find(({ rows }) => rows.some(({ key }) => key === 'n0'))?.rows.length, 2);
});

const overlap = (one: Box, other: Box) =>
  one.x < other.x + other.width &&
  other.x < one.x + one.width &&
  one.y < other.y + other.height &&
  other.y < one.y + one.height;

const anyPlace = fc.constantFrom('this host', 'container a', 'container b', 'container c', 'netns blue');
const anyTail = fc.oneof(anyPlace, fc.constantFrom('machine beta', 'machine gamma'));
const anyLinks = fc.array(
  fc.record({
    head: fc.record({ port: fc.nat(12), place: anyPlace }),
    tail: fc.record({ port: fc.nat(12), place: anyTail }),
    owner: fc.option(fc.constantFrom('3306 of delta', '80 of epsilon'), { nil: undefined }),
    id: fc.string({ minLength: 1, maxLength: 30 }),
  }),
  { maxLength: 20 },
);

test('neither cards nor labels overlap, and other machines are outside of this one', () => {
  fc.assert(
    fc.property(anyLinks, (drafts) => {
      const links = drafts.map(({ id, head, tail, owner }, at) =>
        link(`${id}${at}`, end(head.port, head.place), end(tail.port, tail.place), owner ? { owner } : {}),
      );
      const { cards, wires, frame, width, height } = layOut(mapModel(overview(links, [tunnel])));
      const labels = wires.flatMap(({ label }) => label ?? []);
      assert.is(labels.length, links.length);
      const boxes: Box[] = [...cards, ...labels];
      for (const [at, one] of boxes.entries()) {
        assert.ok(one.x >= 0 && one.y >= 0 && one.x + one.width <= width && one.y + one.height <= height);
        for (const other of boxes.slice(at + 1))
          assert.not.ok(overlap(one, other), JSON.stringify([one, other, drafts]));
      }
      for (const placed of cards) {
        if (!frame) continue;
        const isInside = overlap(frame, placed);
        assert.is(isInside, placed.card.column === 'here', JSON.stringify([placed, frame]));
      }
      for (const { path } of wires) assert.match(path, /^M[-\d. ]+H[-\d.]+(C[-\d. ]+)+$/);
    }),
    { numRuns: 60 },
  );
});

test('an arrow key leads to the nearest in its direction', () => {
  const stop = (left: number, top: number) => ({
    name: `${left},${top}`,
    getBoundingClientRect: () => ({ left, top, width: 10, height: 10 }),
  });
  const stops = [stop(0, 0), stop(100, 5), stop(60, 90), stop(0, 40), stop(2, 80)];
  const from = (name: string, key: string) => {
    const start = stops.find((one) => one.name === name);
    return start && nextInDirection(key, start, stops)?.name;
  };
  assert.is(from('0,0', 'ArrowRight'), '100,5');
  assert.is(from('0,0', 'ArrowDown'), '0,40');
  assert.is(from('0,40', 'ArrowDown'), '2,80');
  assert.is(from('2,80', 'ArrowUp'), '0,40');
  assert.is(from('0,0', 'ArrowLeft'), undefined);
  assert.is(from('0,40', 'Home'), '0,0');
  assert.is(from('0,40', 'End'), '2,80');
  assert.is(from('0,40', 'a'), undefined);
});

test.run();
