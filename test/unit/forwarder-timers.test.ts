import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createTimer, fireDue, start, stop, type Timers } from '../../src/forwarder/timers.ts';

test('timers fire in order, once, and not when they were stopped', () => {
  const action = fc.record({ which: fc.nat(19), due: fc.nat(100), stop: fc.boolean() });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), fc.nat(100), (actions, now) => {
      const timers: Timers = [];
      const fired: number[] = [];
      const all = Array.from({ length: 20 }, (_, i) => createTimer(() => fired.push(i)));
      const expected = new Map<number, number>();
      for (const { which, due, stop: stopIt } of actions) {
        const one = all[which];
        if (one === undefined) continue;
        if (stopIt) stop(timers, one);
        else start(timers, one, due);
        if (stopIt) expected.delete(which);
        else expected.set(which, due);
      }
      fireDue(timers, now);
      const due = [...expected].filter(([, at]) => at <= now).sort((a, b) => a[1] - b[1]);
      assert.equal(
        fired.map((which) => expected.get(which)),
        due.map(([, at]) => at),
      );
      assert.is(timers.length, expected.size - due.length);
    }),
  );
});

test('of any timers, started, moved and stopped in any order, the earliest fires first', () => {
  const action = fc.record({ which: fc.nat(30), due: fc.nat(50), stop: fc.boolean() });
  fc.assert(
    fc.property(fc.array(action, { minLength: 60, maxLength: 300 }), (actions) => {
      const timers: Timers = [];
      const fired: number[] = [];
      const all = Array.from({ length: 31 }, () => {
        const timer = createTimer(() => fired.push(timer.due));
        return timer;
      });
      for (const { which, due, stop: stopIt } of actions) {
        const timer = all[which];
        if (timer === undefined) continue;
        if (stopIt) stop(timers, timer);
        else start(timers, timer, due);
        // Each knows its place, and none is before the one above it.
        for (const [index, one] of timers.entries()) {
          assert.is(one.index, index);
          const above = timers[(index - 1) >> 1];
          assert.ok(above === undefined || above.due <= one.due);
        }
        assert.is(timers.filter((one) => one === timer).length, stopIt ? 0 : 1);
        assert.is(timer.index >= 0, !stopIt);
      }
      const due = timers.map((timer) => timer.due).sort((a, b) => a - b);
      fireDue(timers, 50, Number.POSITIVE_INFINITY);
      assert.equal(fired, due);
      assert.ok(all.every(({ index }) => index === -1));
    }),
  );
});

test('a timer that is due this very moment fires, and a round fires so many', () => {
  const timers: Timers = [];
  let fired = 0;
  const all = Array.from({ length: 100 }, () => createTimer(() => fired++));
  for (const timer of all) start(timers, timer, 5);
  fireDue(timers, 4.9);
  assert.is(fired, 0);
  fireDue(timers, 5);
  assert.is(fired, 64);
  fireDue(timers, 5, 30);
  assert.is(fired, 94);
  fireDue(timers, 5);
  assert.is(fired, 100);
});

test('a timer is not started before start(), and is no longer started when it fires', () => {
  const timers: Timers = [];
  let index: number | undefined;
  const timer = createTimer(() => {
    index = timer.index;
  });
  assert.is(timer.index, -1);
  stop(timers, timer);
  assert.equal([timer.index, timers.length], [-1, 0]);
  start(timers, timer, 1);
  fireDue(timers, 1);
  assert.is(index, -1);
});

test('a timer may restart itself and stop another that is due', () => {
  const timers: Timers = [];
  const fired: string[] = [];
  const other = createTimer(() => fired.push('other'));
  const self = createTimer(() => {
    fired.push('self');
    stop(timers, other);
    start(timers, self, 10);
  });
  start(timers, self, 1);
  start(timers, other, 2);
  fireDue(timers, 5);
  assert.equal(fired, ['self']);
  assert.is(timers[0], self);
});

test.run();
