import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Key } from '../../src/api/key.ts';
import { writeHello } from '../../src/ipsec/hello.ts';
import { createContacts, SILENCE_MS } from '../../src/tunnels/hellos.ts';
import type { KnownTunnels } from '../../src/tunnels/known-tunnels.ts';
import type { Tunnel } from '../../src/units/tunnel.ts';

/* What the service for ESP in UDP makes of the datagrams that anybody can send to it. */

const test = suite('hellos');

const tunnel: Tunnel = {
  id: '1a2b3c4d5e6f7081',
  peer: 'beta',
  machine: 'b'.repeat(32),
  outer: { local: '10.0.0.1', remote: '10.0.0.2' },
  inner: { local: '100.64.0.2', remote: '100.64.0.3' },
  mode: 'udp',
  asked: true,
  keyFile: '/etc/wormhole/key.secret',
};

const key = (byte: number): Key => ({ identity: `wormhole-${byte}`, secret: Buffer.alloc(32, byte) });
const [OLD, NEW, STRANGE] = [key(1), key(2), key(3)];

/** A service that knows one tunnel; how often it looks for a tunnel, and for keys; and what it writes to the journal. */
function service() {
  const counts = { looks: 0, keys: 0 };
  const lines: string[] = [];
  const known: KnownTunnels = {
    all: () => [tunnel],
    find(id) {
      counts.looks++;
      return id === tunnel.id ? tunnel : undefined;
    },
    keysOf() {
      counts.keys++;
      return [NEW, OLD];
    },
  };
  return { ...createContacts(known, (line) => lines.push(line)), counts, lines };
}

const hello = ({ id = tunnel.id, time = Date.now(), machine = tunnel.machine, key = OLD } = {}) =>
  writeHello({ id, time }, machine, key.secret);
const from = (message: Buffer, address = '10.0.0.2') => ({ message, address });

test('a hello of the other machine, with any key that it may have, is told from all else', () => {
  const { receive, counts, lines } = service();
  const time = Date.now();
  assert.is(receive(from(hello({ time }))), tunnel);
  assert.is(receive(from(hello({ time: time + 1, key: NEW }))), tunnel);
  assert.equal([counts.looks, counts.keys, lines], [2, 2, []]);
});

test('what is no hello is not even looked up', () => {
  const { receive, counts, lines } = service();
  const whole = hello();
  for (const message of [
    Buffer.alloc(0),
    Buffer.alloc(1),
    whole.subarray(0, -1),
    Buffer.concat([whole, Buffer.alloc(1)]),
    Buffer.concat([Buffer.from([0, 0, 0, 1]), whole.subarray(4)]),
    Buffer.alloc(65_000),
  ])
    assert.is(receive(from(message)), undefined);
  assert.equal([counts.looks, counts.keys, lines], [0, 0, []]);
});

test('for a stranger no key is looked up', () => {
  const { receive, counts, lines } = service();
  assert.is(receive(from(hello(), '10.0.0.3')), undefined);
  assert.is(receive(from(hello({ id: '0'.repeat(16) }))), undefined);
  assert.equal([counts.looks, counts.keys, lines], [2, 0, []]);
});

test('a hello that the other machine has not signed does not count', () => {
  const { receive, lines } = service();
  const forged = hello();
  forged.writeUInt8(forged.readUInt8(forged.length - 1) ^ 1, forged.length - 1);
  for (const message of [
    forged,
    hello({ key: STRANGE }),
    hello({ machine: 'a'.repeat(32) }),
    Buffer.alloc(52),
  ])
    assert.is(receive(from(message)), undefined);
  assert.equal(lines, []);
});

test('a hello counts once, and one that is older than another does not count', () => {
  const { receive, counts, lines } = service();
  const now = Date.now();
  const [first, second] = [hello({ time: now - 1 }), hello({ time: now })];
  assert.is(receive(from(second)), tunnel);
  for (const message of [second, first, hello({ time: now - 100 })])
    assert.is(receive(from(message)), undefined);
  assert.equal([counts.keys, lines], [1, []], 'nor is a key looked up for it');
});

test('a hello that was recorded long ago, or comes from the future, does not count, even if it is the first one', () => {
  for (const minutes of [-6, 6, -60 * 24 * 365]) {
    const { receive, lines } = service();
    const time = Date.now() + minutes * 60_000;
    assert.is(receive(from(hello({ time }))), undefined);
    assert.match(lines.join('\n'), /^ignored a keepalive from beta that is -?\d+ s old: [^\n]+$/);
    assert.is(receive(from(hello())), tunnel);
  }
  for (const minutes of [-4, 4]) {
    const { receive } = service();
    assert.is(receive(from(hello({ time: Date.now() + minutes * 60_000 }))), tunnel);
  }
});

test('a machine is silent after a while without a hello, and longer each time', () => {
  const { receive, silent } = service();
  const { now } = performance;
  try {
    let time = performance.now();
    performance.now = () => time;
    assert.equal(silent(), []);
    time += SILENCE_MS;
    assert.equal(silent(), [{ tunnel, silence: SILENCE_MS }]);
    assert.equal(silent(), []);
    time += SILENCE_MS;
    assert.equal(silent(), []);
    time += SILENCE_MS;
    assert.equal(silent(), [{ tunnel, silence: 2 * SILENCE_MS }]);
    receive(from(hello()));
    time += SILENCE_MS - 1;
    assert.equal(silent(), []);
    time += 1;
    assert.equal(silent(), [{ tunnel, silence: SILENCE_MS }]);
  } finally {
    performance.now = now;
  }
});

test('a clock that is changed makes no machine silent, and no silent one talk', () => {
  const { receive, silent } = service();
  const { now } = Date;
  try {
    receive(from(hello()));
    assert.equal(silent(), []);
    for (const hours of [1, -1]) {
      Date.now = () => now() + hours * 3_600_000;
      assert.equal(silent(), []);
    }
  } finally {
    Date.now = now;
  }
});

test.run();
