import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createTailSources } from '../../src/forwarder/balance/tail-sources.ts';
import { formatIntroduction, parseIntroduction } from '../../src/forwarder/hand-off/introduction.ts';
import {
  countClosed,
  countOpened,
  createSources,
  formatCount,
  parseCount,
} from '../../src/forwarder/sources.ts';

/* How many sessions each address has, and what forwarders say to each other about that and about clients. */

test('a source is forgotten with its last connection', () => {
  const sources = createSources(2, { tellsChanges: false });
  countOpened(sources, 1);
  countOpened(sources, 1);
  countOpened(sources, 2n);
  assert.equal(
    [...sources.open],
    [
      [1, 2],
      [2n, 1],
    ],
  );
  countClosed(sources, 1);
  countClosed(sources, 2n);
  assert.equal([...sources.open], [[1, 1]]);
  // One that was never counted stays at none.
  countClosed(sources, 5);
  assert.equal([...sources.open], [[1, 1]]);
  assert.is(sources.changed, undefined);
  assert.is(sources.most, 2);
});

test('changes are told to those who ask for them', () => {
  const { changed, ...sources } = createSources(2, { tellsChanges: true });
  countOpened({ ...sources, changed }, 1);
  countOpened({ ...sources, changed }, 2);
  countClosed({ ...sources, changed }, 1);
  assert.equal([...(changed ?? [])], [1, 2]);
});

test('a count is written and read again', () => {
  for (const [source, count, text] of [
    [16_777_343, 3, '16777343 3'],
    [-1, 0, '-1 0'],
    [2n ** 64n - 1n, 9_999_999, '18446744073709551615n 9999999'],
  ] as const) {
    assert.is(formatCount(source, count), text);
    assert.equal(parseCount(text), [source, count]);
  }
  for (const text of [
    '',
    '1',
    '1 ',
    '1 -1',
    ' 1 1',
    '1 1 1',
    '1N 1',
    'n 1',
    '1 12345678',
    `${'1'.repeat(21)} 1`,
    'x1 1',
  ])
    assert.is(parseCount(text), undefined, text);
});

test('the front counts what a tail tells, and forgets it with the tail', () => {
  const sources = createSources(9, { tellsChanges: false });
  const [one, other] = [createTailSources(sources), createTailSources(sources)];
  countOpened(sources, 1);
  one.takeOver(1);
  other.told('1 2');
  assert.is(sources.open.get(1), 3);
  one.told('1 3');
  assert.is(sources.open.get(1), 5);
  one.told('nonsense');
  assert.is(sources.open.get(1), 5);
  one.told('1 0');
  assert.is(sources.open.get(1), 2);
  // What was taken over twice is told once.
  countOpened(sources, 1);
  one.takeOver(1);
  countOpened(sources, 1);
  one.takeOver(1);
  one.told('1 1');
  assert.is(sources.open.get(1), 3);
  other.forget();
  assert.is(sources.open.get(1), 1);
  other.forget();
  assert.is(sources.open.get(1), 1);
  one.forget();
  assert.is(sources.open.size, 0);
});

test('an introduction is written and read again', () => {
  const header = Buffer.from('PROXY UNKNOWN\r\n');
  for (const [introduction, text] of [
    [{ headerBytes: 0 }, '0 - '],
    [{ headerBytes: 28, header }, `28 ${header.toString('base64')} `],
    [{ headerBytes: 999_999_999, name: 'a behind b' }, '999999999 - a behind b'],
    [{ headerBytes: 1, header: Buffer.alloc(256), name: 'x' }, `1 ${Buffer.alloc(256).toString('base64')} x`],
  ] as const) {
    assert.is(formatIntroduction(introduction), text);
    assert.equal(parseIntroduction(text), introduction);
  }
  assert.is(formatIntroduction({}), '0 - ');
});

test('what no front forwarder says is no introduction', () => {
  for (const text of [
    '',
    '0',
    '0 -',
    ' 0 - ',
    '-1 - ',
    '1234567890 - ',
    '0 * ',
    '0  x',
    '0 = ',
    `0 ${Buffer.alloc(257).toString('base64')} x`,
    'x 0 - ',
  ])
    assert.is(parseIntroduction(text), undefined, JSON.stringify(text));
});

test.run();
