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
