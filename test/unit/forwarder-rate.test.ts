import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createRate, spend, waitFor } from '../../src/forwarder/rate.ts';

test('a limit on the rate allows a burst of one second, and then a share of it', () => {
  const rate = createRate(100, 0);
  for (let i = 0; i < 100; i++) {
    assert.is(waitFor(rate, 0), 0);
    spend(rate);
  }
  assert.is(waitFor(rate, 0), 20);
  let accepted = 0;
  for (let now = 0; now <= 1000; now += 20) {
    while (waitFor(rate, now) === 0) {
      spend(rate);
      accepted++;
    }
  }
  assert.is(accepted, 100);
  assert.is(waitFor(createRate(1, 0), 0), 0);
  const slow = createRate(1, 0);
  spend(slow);
  assert.is(waitFor(slow, 250), 750);
});

test('time that passes unused is kept up to one second, and fractions of a client too', () => {
  const rate = createRate(10, 5000);
  for (let i = 0; i < 10; i++) spend(rate);
  assert.is(waitFor(rate, 5000), 100);
  assert.is(waitFor(rate, 5040), 60);
  assert.is(waitFor(rate, 5099), 20);
  assert.is(waitFor(rate, 5100), 0);
  spend(rate);
  assert.is(waitFor(rate, 5100), 100);
  let accepted = 0;
  for (; waitFor(rate, 60_000) === 0; accepted++) spend(rate);
  assert.is(accepted, 10);
});

test.run();
