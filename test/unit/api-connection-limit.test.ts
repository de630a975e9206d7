import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createConnectionLimiter } from '../../src/daemon/connection-limit.ts';
import { createRefusals } from '../../src/daemon/refusals.ts';

let port = 0;

/** A connection from an address, as far as the limiter needs it. */
function caller(remoteAddress: string): Socket & { destroyed: boolean } {
  port++;
  const socket = Object.assign(new EventEmitter(), {
    remoteAddress,
    remotePort: port,
    localAddress: '10.0.0.1',
    destroyed: false,
    destroy() {
      socket.destroyed = true;
      socket.emit('close');
    },
  });
  return socket as unknown as Socket & { destroyed: boolean };
}

const callers = (count: number, address: (n: number) => string) =>
  Array.from({ length: count }, (_, n) => caller(address(n)));

const test = suite('connections without a proved key');

test('of one network, the oldest is closed first', () => {
  const told: string[] = [];
  const limiter = createConnectionLimiter({ network: 3, all: 10 }, (address, reason) =>
    told.push(`${address} ${reason}`),
  );
  const all = callers(5, () => '10.0.0.2');
  for (const one of all) limiter.add(one);
  assert.equal(
    all.map(({ destroyed }) => destroyed),
    [true, true, false, false, false],
  );
  assert.equal(told, Array(2).fill('10.0.0.2 had too many connections open without proving the key'));
});

test('one address cannot crowd out another', () => {
  const limiter = createConnectionLimiter({ network: 3, all: 4 }, () => {});
  const good = caller('10.0.0.9');
  limiter.add(good);
  for (const one of callers(100, () => '10.0.0.2')) limiter.add(one);
  assert.not(good.destroyed);
});

test('when there are too many in all, the network with the most gives way', () => {
  const limiter = createConnectionLimiter({ network: 3, all: 4 }, () => {});
  const many = callers(3, () => '10.0.0.2');
  const few = callers(3, (n) => `10.0.1.${n}`);
  for (const one of [...many, ...few]) limiter.add(one);
  assert.equal(
    many.map(({ destroyed }) => destroyed),
    [true, true, false],
  );
  assert.not(few.some(({ destroyed }) => destroyed));
});

test('an IPv6 network is a /64, however it is written', () => {
  const limiter = createConnectionLimiter({ network: 2, all: 10 }, () => {});
  const same = ['fd00:1:2:3::1', 'fd00:1:2:3:ffff::2', 'fd00:1:2:3:4:5:6:7'].map(caller);
  const other = ['fd00:1:2:4::1', 'fd00::1', '::ffff:10.0.0.2'].map(caller);
  for (const one of [...same, ...other]) limiter.add(one);
  assert.equal(
    same.map(({ destroyed }) => destroyed),
    [true, false, false],
  );
  assert.not(other.some(({ destroyed }) => destroyed));
});

test('a connection whose caller has proved the key does not count, and its end is not reported', () => {
  const told: string[] = [];
  const limiter = createConnectionLimiter({ network: 1, all: 1 }, (address) => told.push(address));
  const good = caller('10.0.0.2');
  limiter.add(good);
  limiter.exempt(good);
  limiter.add(caller('10.0.0.2'));
  assert.not(good.destroyed);
  good.destroy();
  assert.equal(told, []);
});

test('the reason of a refusal is reported, by default that the key was never proved', () => {
  const told: string[] = [];
  const limiter = createConnectionLimiter({ network: 9, all: 9 }, (address, reason) =>
    told.push(`${address} ${reason}`),
  );
  const [one, other] = [caller('10.0.0.2'), caller('::ffff:10.0.0.3')];
  limiter.add(one);
  limiter.add(other);
  limiter.explain(one, 'has another key');
  one.destroy();
  other.destroy();
  assert.equal(told, [
    '10.0.0.2 has another key',
    '10.0.0.3 went away, or was silent for too long, before it had proved the key',
  ]);
});

test('places are free again when connections end', () => {
  const limiter = createConnectionLimiter({ network: 2, all: 3 }, () => {});
  for (let n = 0; n < 50; n++) {
    const pair = callers(2, (m) => `10.0.${m}.1`);
    for (const one of pair) limiter.add(one);
    assert.not(pair.some(({ destroyed }) => destroyed));
    for (const one of pair) one.destroy();
  }
});

test('a thousand refusals are two lines, and the second has the sum', () => {
  const lines: string[] = [];
  const refusals = createRefusals((line) => lines.push(line));
  for (let n = 0; n < 1000; n++) refusals.note(`10.0.0.${n % 3}`, 'has another key');
  assert.equal(lines, ['refused 10.0.0.0, which has another key']);
  refusals.flush();
  assert.is(lines.length, 2);
  assert.is(lines[1], 'refused 999 more in 10 s: 10.0.0.1 (333), 10.0.0.2 (333), 10.0.0.0 (333)');
  refusals.flush();
  assert.is(lines.length, 2, 'nothing new, nothing told');
});

test('any number of addresses fits into a line', () => {
  const lines: string[] = [];
  const refusals = createRefusals((line) => lines.push(line));
  for (let n = 0; n < 10_000; n++) refusals.note(`10.0.${n >> 8}.${n & 255}`, 'is silent');
  refusals.flush();
  assert.match(lines[1] ?? '', /^refused 9999 more in 10 s: .*, …$/);
  assert.ok((lines[1] ?? '').length < 250);
});

test.run();
