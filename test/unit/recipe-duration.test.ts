import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { formatDuration, readDuration } from '../../src/recipe/duration.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';

const test = suite('spans of time');

const YEAR = 365 * 24 * 3600;

for (const [text, seconds] of [
  ['1', 1],
  ['90', 90],
  ['30s', 30],
  ['5m', 300],
  ['5min', 300],
  ['1h', 3600],
  ['1h30m', 5400],
  ['1h2m3s', 3723],
  ['1h3s', 3603],
  ['2m3', 123],
  ['0h1s', 1],
  ['8760h', YEAR],
  [`${YEAR}`, YEAR],
] as const)
  test(`${text} is ${seconds} s`, () => {
    assert.is(readDuration(text), seconds);
    assert.is(readDuration(formatDuration(seconds)), seconds);
  });

// Zero would end a forwarder before its first client has been served.
for (const text of [
  ...['', '0', '0s', '0h0m0s', '8760h1s', `${YEAR + 1}`, '9999999999', '5 m', '5M', '1d', '+1', '1.5h'],
  ...['30s1m', 's', 'x30s', '30sx', '1h\n', '1mi', '1ms'],
])
  test(`${JSON.stringify(text)} is no span`, () => {
    assert.is(readDuration(text), undefined);
    assert.throws(
      () => parseRecipe(['url', ':1', 'idle', text, 'tail', 'url', ':2']),
      text.includes('\n')
        ? /control characters/
        : /^word 4, ".*": not a span of time from a second to a year, such as 30s, 5m or 1h$/,
    );
  });

for (const [seconds, text] of [
  [1, '1s'],
  [60, '1m'],
  [61, '1m1s'],
  [3600, '1h'],
  [3723, '1h2m3s'],
  [YEAR, '8760h'],
] as const)
  test(`${seconds} s are written as ${text}`, () => assert.is(formatDuration(seconds), text));

test.run();
