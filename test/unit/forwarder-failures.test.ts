import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseAddress } from '../../src/forwarder/address.ts';
import type { Connection, Relay } from '../../src/forwarder/connection.ts';
import { describeFailure, isPermanent, OUT_OF_RESOURCES } from '../../src/forwarder/dial-failure.ts';
import { explainRejections, handleRejection } from '../../src/forwarder/far-failure.ts';
import { E } from '../../src/forwarder/syscalls.ts';
import { parseUnixAddress } from '../../src/forwarder/unix/address.ts';

/* What is said of a target that does not accept, and when there is no use in trying again. */

const tcp = parseAddress('127.0.0.1:80');
const unix = parseUnixAddress('x', '/run/x');
const link = (more: Partial<Relay> = {}) => ({ to: tcp, target: 'T', ...more }) as Relay;
const named = (problem?: string) => ({ named: { problem } }) as Partial<Relay>;

test('policy and a missing address family do not change by waiting, unless another machine may have moved', () => {
  for (const failure of [E.EACCES, E.EPERM, E.EAFNOSUPPORT, E.EINVAL, E.EPROTONOSUPPORT, E.EPROTOTYPE]) {
    assert.ok(isPermanent(link(), failure));
    assert.not(isPermanent(link({ resolver: { refresh: () => true } }), failure));
  }
  for (const failure of [E.ECONNREFUSED, E.ETIMEDOUT, E.ENOENT, E.EMFILE, E.EHOSTUNREACH])
    assert.not(isPermanent(link(), failure));
  // A server sets the mode of its socket after it has created it.
  assert.not(isPermanent(link({ to: unix }), E.EACCES));
  assert.ok(isPermanent(link({ to: unix }), E.EPERM));
  assert.ok(isPermanent(link({ to: undefined }), E.EACCES));
});

test('each failure in plain words', () => {
  for (const [relay, failure, words] of [
    [link(), E.ECONNREFUSED, 'T refused'],
    [link(), E.ETIMEDOUT, 'T did not answer'],
    [link(), E.EHOSTUNREACH, 'T could not be reached'],
    [link(), E.EMFILE, 'no socket to T could be made'],
    [link({ to: undefined }), E.EHOSTUNREACH, 'T could not be reached'],
    [link(), E.EDESTADDRREQ, 'no address of T was learnt'],
    [link(named()), E.EDESTADDRREQ, 'no address of T is known'],
    [link(named('no server')), E.EDESTADDRREQ, 'no address of T is known: no server'],
    [link(named('no server')), E.ECONNREFUSED, 'T refused'],
    [link({ to: unix }), E.ECONNREFUSED, 'T refused'],
    [link({ to: unix }), E.ENOENT, 'T did not exist'],
    [link(), E.ENOENT, 'T could not be reached'],
    [link({ to: unix }), E.EAGAIN, 'T had a full backlog'],
    [link({ to: unix }), E.EPROTOTYPE, 'T is a socket of another type'],
    [link({ to: unix }), E.EACCES, 'T may not be used by the forwarder, which runs as nobody'],
    [link({ to: unix }), E.EMFILE, 'T could not be reached'],
  ] as [Relay, number, string][])
    assert.is(describeFailure(relay, failure), words);
  for (const failure of [E.EMFILE, E.ENFILE, E.ENOBUFS, E.ENOMEM, E.ENOSPC])
    assert.ok(OUT_OF_RESOURCES.has(failure));
});

/** A link to another machine, and what has been told and logged. */
function farLink() {
  const told: string[] = [];
  const logged: string[] = [];
  const failed: string[] = [];
  let refreshed = 0;
  const relay = {
    loop: { now: 77 },
    location: 'machine b',
    rejections: 0,
    rejectedAt: 0,
    resolver: { refresh: () => ++refreshed > 0 },
    counters: { served: 10, failing: 2, fail: (message: string) => failed.push(message) },
    onRejection: (message: string) => told.push(message),
    log: {
      failure: (kind: string, line: string, summary: (count: number) => string) =>
        logged.push(kind, line, summary(1), summary(2)),
    },
  } as unknown as Relay;
  return { relay, told, logged, failed, refreshed: () => refreshed };
}

test('a client that the far target resets is counted, and the other machine is asked why', () => {
  const { relay, refreshed } = farLink();
  handleRejection({ relay } as Connection);
  handleRejection({ relay } as Connection);
  assert.equal([relay.rejections, relay.rejectedAt, refreshed()], [2, 77, 2]);
});

test('when the other machine says that its part fails, its rejected clients were not served', () => {
  for (const [rejections, clients] of [
    [1, 'the client'],
    [3, '3 clients'],
  ] as const) {
    const { relay, told, logged, failed } = farLink();
    relay.rejections = rejections;
    explainRejections(relay, { failing: 'db refused' });
    const message = 'machine b says: db refused';
    assert.equal(told, [message]);
    assert.equal(failed, Array(rejections).fill(message));
    assert.is(relay.counters.served, 10 - rejections);
    assert.is(relay.counters.failing, 2);
    assert.is(relay.rejections, 0);
    assert.equal(logged, [
      'unreachable far',
      `${message}; its forwarder has reset ${clients}; the next connection tries again`,
      `${message}; it has reset 1 more time in the last 10 s`,
      `${message}; it has reset 2 more times in the last 10 s`,
    ]);
  }
  const { relay, told } = farLink();
  relay.rejections = 1;
  explainRejections({ ...relay, location: undefined }, { failing: 'x' });
  assert.equal(told, ['the far side says: x']);
});

test('a link that tells nobody, and whose address never changes, counts nevertheless', () => {
  const { relay } = farLink();
  const bare = { ...relay, resolver: undefined, onRejection: undefined };
  handleRejection({ relay: bare } as unknown as Connection);
  assert.is(bare.rejections, 1);
  explainRejections(bare, {});
  assert.is(bare.rejections, 0);
  bare.rejections = 1;
  explainRejections(bare, { failing: 'x' });
  assert.is(bare.rejections, 0);
});

test('without a rejected client, a failure of the other machine is nothing new here', () => {
  const { relay, told, logged, failed } = farLink();
  explainRejections(relay, { failing: 'db refused' });
  explainRejections(relay, {});
  assert.equal([told, logged, failed, relay.counters.failing], [[], [], [], 2]);
});

test('when it says that all is well, the resets were meant', () => {
  const { relay, told, logged } = farLink();
  relay.rejections = 2;
  explainRejections(relay, {});
  assert.equal([told, logged], [[''], []]);
  assert.equal([relay.counters.failing, relay.counters.served, relay.rejections], [0, 10, 0]);
});

test.run();
