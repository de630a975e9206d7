import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Candidate, type Policy, pick } from '../../src/forwarder/balance/pick.ts';
import { createTailState, isAvailable, noteAccepted, noteFailed } from '../../src/forwarder/balance/tail.ts';

/* Which tail a client gets, and when one that has failed is tried again. */

function candidate(name: string, more: Partial<Candidate> = {}): Candidate & { load: number } {
  return { name, weight: 1, load: 0, isAsleep: false, pickedAt: 0, credit: 0, ...more };
}

/** The names of the next picks; each is noted, and its session stays open. */
function picks(policy: Policy, candidates: (Candidate & { load: number })[], count: number): string {
  let names = '';
  for (let n = 1; n <= count; n++) {
    const next = pick(policy, candidates, '') as Candidate & { load: number };
    next.pickedAt = n;
    next.load += 1;
    names += next.name;
  }
  return names;
}

test('least: the fewest sessions for the weight, and in turn among equals', () => {
  assert.is(picks('least', [candidate('a'), candidate('b'), candidate('c')], 6), 'abcabc');
  const [a, b] = [candidate('a', { load: 5 }), candidate('b')];
  assert.is(picks('least', [a, b], 6), 'bbbbba');
  const counts = picks('least', [candidate('a', { weight: 3 }), candidate('b')], 400);
  assert.is(counts.split('a').length - 1, 300);
});

test('least: one that has to be started comes after its equals', () => {
  const [asleep, awake] = [candidate('a', { isAsleep: true }), candidate('b')];
  assert.is(pick('least', [asleep, awake], ''), awake);
  assert.is(pick('least', [asleep, { ...awake, load: 1 }], ''), asleep);
});

test('least: among equals, the one that was picked longest ago', () => {
  const [a, b, c] = ['a', 'b', 'c'].map((name, at) => candidate(name, { pickedAt: 9 - at }));
  assert.is(pick('least', [a, b, c] as Candidate[], ''), c);
  // So also among those that would have to be started.
  assert.is(
    pick('least', [a, b, c].map((one) => ({ ...one, isAsleep: true })) as Candidate[], '')?.name,
    'c',
  );
  // Of those that were never picked, the first.
  assert.is(picks('least', [candidate('a'), candidate('b')], 1), 'a');
  assert.is(
    pick('least', [candidate('a', { load: 3, weight: 4 }), candidate('b', { load: 2 })], '')?.name,
    'a',
  );
});

test('round-robin: equals take turns in their order', () => {
  assert.is(picks('round-robin', [candidate('a'), candidate('b'), candidate('c')], 6), 'abcabc');
});

test('round-robin: each gets its share, evenly', () => {
  assert.is(picks('round-robin', [candidate('a', { weight: 2 }), candidate('b')], 6), 'abaaba');
});

test('first: the others are spares', () => {
  assert.is(picks('first', [candidate('a'), candidate('b')], 3), 'aaa');
});

test('source: a client stays at its tail, and only the clients of a tail that goes move', () => {
  const [a, b, c] = [candidate('a', { weight: 2 }), candidate('b'), candidate('c')];
  const all = [a, b, c] as Candidate[];
  const clients = Array.from({ length: 4000 }, (_, n) => `10.0.${n >> 8}.${n & 255}`);
  const tailOf = (tails: Candidate[], client: string) => pick('source', tails, client)?.name;
  const before = clients.map((client) => tailOf(all, client));
  const share = (name: string) => before.filter((one) => one === name).length / clients.length;
  assert.ok(Math.abs(share('a') - 0.5) < 0.05, `${share('a')}`);
  assert.ok(Math.abs(share('b') - 0.25) < 0.05, `${share('b')}`);
  for (const [index, client] of clients.entries())
    if (before[index] !== 'b') assert.is(tailOf([a, c] as Candidate[], client), before[index]);
});

test('source: the shares are those of the weights', () => {
  const tails = [candidate('a', { weight: 8 }), candidate('b'), candidate('c')];
  const clients = Array.from({ length: 8000 }, (_, n) => `10.1.${n >> 8}.${n & 255}`);
  const share = (name: string) =>
    clients.filter((client) => pick('source', tails, client)?.name === name).length / clients.length;
  assert.ok(Math.abs(share('a') - 0.8) < 0.02, `${share('a')}`);
  assert.ok(Math.abs(share('b') - 0.1) < 0.015, `${share('b')}`);
});

test('no tail, no pick', () => {
  for (const policy of ['least', 'round-robin', 'first', 'source'] as const)
    assert.is(pick(policy, [], 'x'), undefined);
});

const option = {
  name: 'a',
  weight: 2,
  timeout: 5000,
  isOnDemand: true,
  address: { text: '@a', port: 0, family: 1, sockaddr: 0, size: 0 },
};

test('a tail of which nothing is known is available, and asleep if it is started on demand', () => {
  const state = createTailState(option);
  assert.equal(
    { ...state, option: undefined },
    {
      ...{ option: undefined, name: 'a', weight: 2, load: 0, isAsleep: true, pickedAt: 0, credit: 0 },
      ...{ failures: 0, pausedUntil: 0, isProbed: false, isDown: false },
    },
  );
  assert.is(state.option, option);
  assert.not(createTailState({ ...option, isOnDemand: false }).isAsleep);
  // A client that tries it does not keep others away before it has failed.
  state.isProbed = true;
  assert.ok(isAvailable(state, 0));
});

test('a tail that a check has found down gets no client until it accepts one', () => {
  const state = createTailState(option);
  state.isDown = true;
  assert.not(isAvailable(state, 1e9));
  noteAccepted(state);
  assert.ok(isAvailable(state, 0));
});

test('what fails after the pause has ended is another failure, with or without a client that tries', () => {
  const state = createTailState(option);
  noteFailed(state, 1000, false);
  assert.equal([state.failures, state.pausedUntil], [1, 1500]);
  noteFailed(state, 1499, false);
  assert.equal([state.failures, state.pausedUntil], [1, 1500]);
  noteFailed(state, 1500, false);
  assert.equal([state.failures, state.pausedUntil], [2, 2500]);
  // The one that tries has failed before the others thought that it would be tried.
  state.isProbed = true;
  noteFailed(state, 2400, false);
  assert.equal([state.failures, state.pausedUntil, state.isProbed], [3, 4400, false]);
});

test('the pauses of a tail that fails grow, one client at a time tries it, and success ends them', () => {
  const state = createTailState({
    name: 'a',
    weight: 1,
    timeout: 5000,
    isOnDemand: false,
    address: { text: '@a', port: 0, family: 1, sockaddr: 0, size: 0 },
  });
  assert.ok(isAvailable(state, 0));
  let now = 0;
  const pauses: number[] = [];
  for (let n = 0; n < 8; n++) {
    noteFailed(state, now, false);
    // Those that were offered together with the first do not prolong the pause.
    noteFailed(state, now, false);
    pauses.push(state.pausedUntil - now);
    assert.not.ok(isAvailable(state, state.pausedUntil - 1));
    now = state.pausedUntil;
    assert.ok(isAvailable(state, now));
    state.isProbed = true;
    assert.not.ok(isAvailable(state, now));
  }
  assert.equal(pauses, [500, 1000, 2000, 4000, 5000, 5000, 5000, 5000]);
  noteAccepted(state);
  assert.ok(isAvailable(state, now));
  for (let n = 0; n < 10; n++) {
    noteFailed(state, now, true);
    pauses.push(state.pausedUntil - now);
    now = state.pausedUntil;
    state.isProbed = true;
  }
  // A client that tries one which is silent has to wait for it.
  assert.is(pauses.at(-1), 30_000);
});

test.run();
