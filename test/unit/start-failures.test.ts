import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pauseLeft } from '../../src/links/start-failures.ts';

const test = suite('the pause after a failed start');

const last = Date.parse('2026-01-01T00:00:00Z');

test('doubles with each failure, up to 30 s, and what has passed of it counts', () => {
  const pauses = [1, 2, 3, 5, 6, 100].map((count) => pauseLeft({ count, last }, last));
  assert.equal(pauses, [1_000, 2_000, 4_000, 16_000, 30_000, 30_000]);
  const later = [0, 999, 4_000, 86_400_000].map((ms) => pauseLeft({ count: 3, last }, last + ms));
  assert.equal(later, [4_000, 3_001, 0, 0]);
});

test('is no longer when the clock has been set back', () => {
  assert.equal(
    [1, 60_000, 86_400_000].map((ms) => pauseLeft({ count: 2, last }, last - ms)),
    [2_000, 2_000, 2_000],
  );
});

test.run();
