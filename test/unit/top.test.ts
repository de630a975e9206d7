import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ListedLink } from '../../src/api/listing-schema.js';
import { pressKey, type View } from '../../src/cli/top-keys.js';
import { type LinkRates, ratesBetween, type Sample } from '../../src/cli/top-rates.js';
import { arrange, columnsFor, describeRates, renderScreen } from '../../src/cli/top-text.js';

type Figures = Partial<NonNullable<ListedLink['counters']>>;

const ZERO = {
  ...{ open: 0, limit: 9, served: 0, unserved: 0, denied: 0, refused: 0, timedOut: 0 },
  ...{ bytesFromClients: 0, bytesFromTarget: 0, datagramsFromClients: 0, datagramsFromTarget: 0 },
  ...{ resetsByClient: 0, resetsByTarget: 0, held: 0, heldMs: 0, dialMs: 0, dials: [] },
};

function sample(at: number, links: Record<string, Figures | undefined>): Sample {
  const end = { url: '', place: '' };
  const listed = Object.entries(links).map(
    ([id, figures]): ListedLink => ({
      ...{ id, head: end, tail: end, state: 'listening', detail: '', recipe: '' },
      ...(figures && { counters: { ...ZERO, ...figures } }),
    }),
  );
  return { at, listings: [{ machine: 'm', listing: { links: listed, unreadable: [] } }] };
}

function rates(before: Sample, after: Sample): LinkRates {
  const [link] = ratesBetween(before, after);
  assert.ok(link);
  return link;
}

const link = (id: string, more: Partial<LinkRates> = {}): LinkRates => ({
  ...{ machine: 'm', id, state: 'listening', open: 0, newPerSecond: 0, errorsPerSecond: 0, errors: 0 },
  ...{ bytesInPerSecond: 0, bytesOutPerSecond: 0 },
  ...more,
});

test('rates are what has been counted since, per second of the real interval', () => {
  const before = { served: 10, bytesFromClients: 1000, unserved: 1, dialMs: 50, dials: [{ count: 10 }] };
  const after = {
    ...{ open: 3, served: 14, bytesFromClients: 5000, bytesFromTarget: 800, dialMs: 70 },
    ...{ unserved: 2, denied: 1, refused: 2, dials: [{ upToMs: 25, count: 11 }, { count: 3 }] },
  };
  const found = rates(sample(1000, { a: before }), sample(3000, { a: after }));
  assert.equal(
    [found.open, found.newPerSecond, found.bytesInPerSecond, found.bytesOutPerSecond],
    [3, 2, 2000, 400],
  );
  assert.equal([found.errorsPerSecond, found.errors, found.dialMs], [2, 5, 5]);
});

test('the first client counts, a link seen for the first time has no rate, and one created again begins at 0', () => {
  const used = { served: 4, bytesFromClients: 400 };
  assert.is(rates(sample(0, { a: undefined }), sample(1000, { a: used })).bytesInPerSecond, 400);
  assert.is(rates(sample(0, {}), sample(1000, { a: used })).bytesInPerSecond, 0);
  const again = rates(sample(0, { a: { served: 9, bytesFromClients: 1 } }), sample(1000, { a: used }));
  assert.equal([again.newPerSecond, again.bytesInPerSecond], [4, 400]);
  assert.is(again.dialMs, undefined);
});

test('links are sorted by any column, both ways, and filtered', () => {
  const links = [link('b', { open: 2 }), link('a', { open: 2 }), link('c', { open: 7, state: 'failed' })];
  const ids = (order: Parameters<typeof arrange>[1]) => arrange(links, order).map(({ id }) => id);
  assert.equal(ids({ sort: 'sessions', reversed: false, filter: '' }), ['c', 'a', 'b']);
  assert.equal(ids({ sort: 'sessions', reversed: true, filter: '' }), ['a', 'b', 'c']);
  assert.equal(ids({ sort: 'id', reversed: true, filter: '' }), ['c', 'b', 'a']);
  assert.equal(ids({ sort: 'in', reversed: false, filter: 'FAIL' }), ['c']);
});

test('no text of another machine acts on the terminal, and no line is wider than it', () => {
  const links = Array.from({ length: 50 }, (_, at) =>
    link(`evil\u001b]0;x\u0007\n${at}`, { machine: '\u009b2J\u202e' }),
  );
  assert.not.match(describeRates(links, columnsFor(true)).join(''), /[\p{Cc}\p{Cf}]/u);
  for (const size of [
    { columns: 20, rows: 5 },
    { columns: 1, rows: 1 },
    { columns: 200, rows: 80 },
  ]) {
    const order = { sort: 'in' as const, reversed: false, filter: '' };
    const screen = { order, columns: columnsFor(true), selected: 49, status: 'a\u001b[2Jb'.repeat(40), size };
    const all = renderScreen(links, screen);
    // The titles and the selected link are marked. Without the marks, no control character is left.
    const marks = ['\u001b[7m', '\u001b[27m', '\u001b[1m', '\u001b[22m'];
    const lines = all.map((line) => marks.reduce((text, mark) => text.replaceAll(mark, ''), line));
    assert.ok(lines.length <= size.rows);
    assert.ok(lines.every((line) => [...line].length <= size.columns));
    assert.not.match(lines.join(''), /[\p{Cc}\p{Cf}]/u);
  }
});

test('the selected link is on the screen', () => {
  const links = Array.from({ length: 50 }, (_, at) => link(`link${at}`));
  const order = { sort: 'id' as const, reversed: false, filter: '' };
  const size = { columns: 80, rows: 10 };
  for (const selected of [0, 7, 49]) {
    const lines = renderScreen(links, { order, columns: columnsFor(false), selected, status: '', size });
    assert.is(lines.length, 10);
    assert.ok(lines.some((line) => line.startsWith(`\u001b[7mlink${selected} `)));
  }
});

test('the time to idle is that of links without a session, and sorts the one that ends last first', () => {
  const listed = rates(sample(0, { a: {} }), sample(1000, { a: { idleInMs: 1500 } }));
  assert.is(listed.idleInMs, 1500);
  const links = [link('a', { idleInMs: 1500 }), link('b'), link('c', { idleInMs: 3_600_000 * 3 })];
  const order = { sort: 'idle' as const, reversed: false, filter: '' };
  const lines = describeRates(arrange(links, order), columnsFor(false), order);
  assert.match(lines[0] ?? '', /IDLE INv$/);
  assert.match(lines[1] ?? '', /^c .* 3 h$/);
  assert.match(lines[2] ?? '', /^a .* 2 s$/);
  assert.match(lines[3] ?? '', /^b .* -$/);
});

test('keys sort, reverse, filter, pause, select, and set the interval', () => {
  const start: View = {
    ...{ order: { sort: 'in', reversed: false, filter: '' }, several: false, selected: 0 },
    ...{ paused: false, interval: 2 },
  };
  const press = (keys: string): View =>
    [...keys].reduce((view: View, sequence) => {
      const name = { '\r': 'return', '\u001b': 'escape', '\u007f': 'backspace' }[sequence];
      const next = pressKey(view, { sequence, name: name ?? sequence.toLowerCase() }, 5);
      assert.ok(typeof next === 'object');
      return next;
    }, start);
  assert.is(press('M').order.sort, 'sessions');
  assert.is(press('>').order.sort, 'out');
  assert.is(press('>>>>').order.sort, 'idle');
  assert.is(press('>>>>>').order.sort, 'id');
  assert.is(press('<').order.sort, 'new');
  assert.is(press('I').order.reversed, true);
  assert.is(press('rr').order.reversed, false);
  assert.is(press('/qx\u007f\r').order.filter, 'q');
  assert.is(press('/q\r\u001b').order.filter, '');
  assert.is(press('d5s\r').interval, 5);
  assert.is(press('dxyz\r').interval, 2);
  assert.is(press('p').paused, true);
  assert.is(press(' p').paused, false);
  const down = pressKey({ ...start, selected: 4 }, { name: 'down' }, 5);
  assert.is((down as View).selected, 4);
  assert.is(pressKey(start, { name: 'q', sequence: 'q' }, 5), 'quit');
  assert.is(pressKey(start, { name: 'c', ctrl: true }, 5), 'quit');
  assert.is(pressKey(start, { name: 'z', ctrl: true }, 5), 'suspend');
  assert.is(pressKey(start, { name: 'return', sequence: '\r' }, 5), 'details');
});

test.run();
