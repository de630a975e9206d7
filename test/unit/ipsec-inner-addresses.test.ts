import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  chooseInnerAddresses,
  isFree,
  type Occupied,
  parseNetwork,
} from '../../src/ipsec/inner-addresses.ts';

const test = suite('addresses inside tunnels');

const nothing: Occupied = { addresses: new Set(), networks: [] };
const number = (address: string) => parseNetwork(address).first;

test('of a network, the bits that do not count are ignored', () => {
  assert.equal(parseNetwork('100.65.0.0/14'), parseNetwork('100.64.0.0/14'));
  assert.equal(parseNetwork('100.64.0.0/14'), { first: 100 * 2 ** 24 + 64 * 2 ** 16, bits: 14 });
  assert.equal(parseNetwork('255.255.255.255'), { first: 2 ** 32 - 1, bits: 32 });
});

test('pairs are even and odd neighbours, different ones, within the network', () => {
  for (const network of ['100.65.0.0/14', '10.0.0.0/8', '192.168.7.16/28']) {
    const pairs = chooseInnerAddresses(network, nothing);
    assert.is(pairs.length, network.endsWith('28') ? 8 : 16);
    assert.is(new Set(pairs.map(({ local }) => local)).size, pairs.length);
    const { first, bits } = parseNetwork(network);
    for (const { local, remote } of pairs) {
      assert.is(number(local) % 2, 0);
      assert.is(number(remote), number(local) + 1);
      assert.ok(number(local) >= first && number(remote) < first + 2 ** (32 - bits));
    }
  }
});

test('in a large network the pairs are far apart, wherever chance begins; a small one is offered whole', () => {
  const random = (numbers: number[]) => () => numbers.shift() ?? Number.NaN;
  // 131,072 pairs: the first is the 7th, and each further one 2 × 1000 + 1 pairs away.
  const far = chooseInnerAddresses('100.64.0.0/14', nothing, random([7, 1000]));
  assert.equal(
    far.map(({ local }) => (number(local) - number('100.64.0.0')) / 2),
    Array.from({ length: 16 }, (_, step) => 7 + 2001 * step),
  );
  const bounds: number[] = [];
  chooseInnerAddresses('100.64.0.0/14', nothing, (below) => {
    bounds.push(below);
    return below - 1;
  });
  assert.equal(bounds, [2 ** 17, 2 ** 16]);
  const small = chooseInnerAddresses('192.168.7.0/27', nothing, random([15]));
  assert.equal(
    small.map(({ local }) => local.split('.')[3]),
    [30, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28].map(String),
  );
});

test('what is in use is not chosen', () => {
  const free = (occupied: Partial<Occupied>) =>
    chooseInnerAddresses('192.168.7.16/28', { ...nothing, ...occupied })
      .map(({ local }) => local)
      .sort();
  const all = [16, 18, 20, 22, 24, 26, 28, 30].map((last) => `192.168.7.${last}`);
  assert.equal(free({}), all);
  assert.equal(free({ addresses: new Set(['192.168.7.19', '192.168.7.30']) }), [
    ...all.slice(0, 1),
    ...all.slice(2, 7),
  ]);
  assert.equal(free({ networks: [parseNetwork('192.168.7.16/29')] }), all.slice(4));
  // Everything is in the network of a default route, or of a whole site.
  assert.equal(free({ networks: [parseNetwork('0.0.0.0/0'), parseNetwork('192.168.0.0/16')] }), all);
  assert.equal(free({ networks: [parseNetwork('192.168.7.16/28')] }), []);
});

test('free means both addresses, of this machine and of its routes', () => {
  const pair = { local: '100.64.0.2', remote: '100.64.0.3' };
  const within = '100.64.0.0/14';
  assert.ok(isFree(pair, within, nothing));
  assert.not(isFree(pair, within, { ...nothing, addresses: new Set(['100.64.0.2']) }));
  assert.not(isFree(pair, within, { ...nothing, addresses: new Set(['100.64.0.3']) }));
  assert.not(isFree(pair, within, { ...nothing, networks: [parseNetwork('100.64.0.3')] }));
  assert.ok(isFree(pair, within, { ...nothing, networks: [parseNetwork('100.64.0.4/30')] }));
});

test('addresses outside of the network of tunnels are never free, and neither is one address for both ends', () => {
  const within = '100.64.0.0/14';
  for (const [local, remote] of [
    ['169.254.169.254', '169.254.169.253'],
    ['127.0.0.53', '127.0.0.54'],
    ['10.0.0.1', '100.64.0.3'],
    ['100.64.0.2', '10.0.0.2'],
    ['100.63.255.254', '100.63.255.255'],
    ['100.68.0.0', '100.68.0.1'],
    ['100.64.0.2', '100.64.0.2'],
  ] as const)
    assert.not(isFree({ local, remote }, within, nothing), `${local} ${remote}`);
  assert.ok(isFree({ local: '100.67.255.254', remote: '100.67.255.255' }, within, nothing));
});

test.run();
