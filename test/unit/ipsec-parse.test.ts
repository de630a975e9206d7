import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { hasAddress, hasInterface, isGuarded, linesToEnd, linesToSweep } from '../../src/ipsec/kernel.ts';
import { parseAssociations, parsePolicies } from '../../src/ipsec/parse.ts';
import type { AddressPair } from '../../src/text/ip-address.ts';
import { POLICIES, STATES } from './ipsec-output.ts';

const test = suite('what ip prints');

const NUMBER = 0x57af8e0c;

test('security associations of tunnels, and of nobody else', () => {
  const found = parseAssociations(STATES);
  assert.is(found.length, 2);
  const [out, incoming] = found;
  assert.equal(out && { ...out, bytes: 0, packets: 0, added: 0 }, {
    src: 'fd91::2',
    dst: 'fd91::3',
    spi: 0x7f1bbcc1,
    number: NUMBER,
    bytes: 0,
    packets: 0,
    added: 0,
    errors: { replay: 0, window: 0, authentication: 0 },
  });
  const discards = STATES.replace('replay-window 0 replay 0 failed 0', 'replay-window 7 replay 8 failed 9');
  assert.equal(parseAssociations(discards)[0]?.errors, { replay: 8, window: 7, authentication: 9 });
  assert.is(out?.added, Date.UTC(2026, 10, 22, 21, 13, 45));
  assert.is(incoming?.src, 'fd91::3');
  assert.equal(parseAssociations(STATES.replaceAll('reqid 1471122956', 'reqid 7')), []);
  // What the kernel would like to have.
  assert.equal(parseAssociations(STATES.replaceAll(/\taead.*/g, '')), []);
  assert.equal(parseAssociations(''), []);
});

test('UDP ports, as ip prints them and takes them', () => {
  const encapsulated = STATES.replace(
    'anti-replay',
    'encap type espinudp sport 4500 dport 4507 addr 0.0.0.0\n\tanti-replay',
  );
  assert.is(parseAssociations(encapsulated)[0]?.encapsulation, 'espinudp 4500 4507 0.0.0.0');
});

test('policies, by which a tunnel is known to be whole', () => {
  const policies = parsePolicies(POLICIES);
  assert.is(policies.length, 6);
  const wanted = {
    number: NUMBER,
    outer: { local: 'fd91::2', remote: 'fd91::3' },
    inner: { local: '100.64.19.98', remote: '100.64.19.99' },
    mtu: 1326,
  };
  const none = { bytes: 0, packets: 0 };
  const kernel = {
    associations: parseAssociations(STATES),
    policies,
    interfaces: [
      { number: NUMBER, up: true, mtu: 1326, addresses: [wanted.inner], received: none, sent: none },
    ],
    addresses: ['fd91::2'],
  };
  assert.ok(hasInterface(kernel, wanted));
  assert.not(hasInterface(kernel, { ...wanted, mtu: 1300 }));
  assert.not(hasInterface(kernel, { ...wanted, outer: { local: 'fd91::2', remote: 'fd91::4' } }));
  assert.not(hasInterface({ ...kernel, interfaces: [] }, wanted));
  for (const index of policies.filter(({ action }) => action === 'allow').keys()) {
    const fewer = policies.filter(({ action }) => action === 'allow').toSpliced(index, 1);
    assert.not(hasInterface({ ...kernel, policies: fewer }, wanted));
  }
  assert.ok(hasAddress(kernel, { ...wanted, mtu: 1300 }));
  assert.not(hasAddress(kernel, { ...wanted, inner: { ...wanted.inner, remote: '100.64.19.97' } }));
  assert.not(hasAddress({ ...kernel, interfaces: [] }, wanted));
  assert.ok(isGuarded(kernel, wanted.inner));
  for (const index of policies.keys()) {
    const fewer = policies.toSpliced(index, 1);
    assert.is(isGuarded({ ...kernel, policies: fewer }, wanted.inner), policies[index]?.action !== 'block');
  }
  // Two associations, the policies that are not for blocking, and the interface.
  assert.is(linesToEnd(kernel, NUMBER).length, 6);
  const policyLines = (numbers: number[], guarded: AddressPair[]) =>
    linesToSweep(kernel, new Set(numbers), guarded).filter((line) => line.startsWith('xfrm policy'));
  assert.equal(linesToSweep(kernel, new Set([NUMBER]), [wanted.inner]), []);
  assert.is(new Set(policyLines([], [])).size, 6);
  // The policies that block stay where a deleted tunnel is still named by links.
  const blocking = policies.filter(({ action }) => action === 'block').map(({ index }) => index);
  for (const line of policyLines([], [wanted.inner]))
    assert.not(
      blocking.some((index) => line.includes(` index ${index} `)),
      line,
    );
  assert.is(new Set(policyLines([], [wanted.inner])).size, 3);
  assert.equal(linesToEnd(kernel, NUMBER + 1), []);
});

test.run();
