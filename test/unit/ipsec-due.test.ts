import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isDue, type Keys } from '../../src/ipsec/due.ts';

const MINUTE = 60_000;
const begin = Date.parse('2026-01-01T00:00:00Z');
const one = { added: begin, packets: 1 };
const early: Keys = { in: [one], out: [one], number: 0x57000000 - (0x57000000 % 1000), asked: true };
const late: Keys = { ...early, number: early.number + 999 };

const after = (keys: Keys, minutes: number) => isDue(keys, begin + minutes * MINUTE);

const test = suite('when keys are renewed');

test('once an hour at the latest, and tunnels of other numbers at other times', () => {
  assert.equal(
    [49, 51].map((minutes) => after(early, minutes)),
    [false, true],
  );
  assert.equal(
    [57, 59].map((minutes) => after(late, minutes)),
    [false, true],
  );
});

test('the end that nobody asked for leaves it to the other one at first', () => {
  assert.equal(
    [69, 71].map((minutes) => after({ ...early, asked: false }, minutes)),
    [false, true],
  );
});

test('the age is that of what came last', () => {
  const newer = { ...one, added: begin + 30 * MINUTE };
  assert.equal(
    [79, 81].map((minutes) => after({ ...early, in: [newer, one] }, minutes)),
    [false, true],
  );
});

test('after 2^31 packets of either direction', () => {
  const worn = { ...one, packets: 2 ** 31 + 1 };
  assert.ok(after({ ...early, in: [worn] }, 1));
  assert.ok(after({ ...early, out: [worn] }, 1));
  assert.not(after({ ...early, out: [{ ...one, packets: 2 ** 31 }] }, 1));
});

test('at once where there are none', () => {
  assert.ok(after({ ...early, in: [] }, 0));
});

test('keys from the future: the clock has been set back, and they would stay for as long as that', () => {
  assert.equal(
    [-0.5, -2, -600].map((minutes) => after(early, minutes)),
    [false, true, true],
  );
  assert.is(after({ ...early, asked: false }, -600), true);
});

test.run();
