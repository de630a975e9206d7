import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { hasAddress, hasInterface, isGuarded, linesToEnd, linesToSweep } from '../../src/ipsec/kernel.ts';
import { parseAssociations, parsePolicies } from '../../src/ipsec/parse.ts';
import type { AddressPair } from '../../src/text/ip-address.ts';

const test = suite('what ip prints');

// iproute2 6.1 and Linux 6.1, with TZ=UTC.
const STATES = `src fd91::2 dst fd91::3
	proto esp spi 0x7f1bbcc1(2132524225) reqid 1471122956(0x57af8e0c) mode tunnel
	replay-window 0 seq 0x00000000 flag af-unspec esn (0x10100000)
	aead rfc4106(gcm(aes)) <<Keys hidden>> 128
	anti-replay esn context:
	 seq-hi 0x0, seq 0x0, oseq-hi 0x0, oseq 0x6
	 replay_window 128, bitmap-length 4
	 00000000 00000000 00000000 00000000 
	if_id 0x57af8e0c
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 10800(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  504(bytes), 6(packets)
	  add 2026-11-22 21:13:45 use 2026-11-22 21:14:36
	stats:
	  replay-window 0 replay 0 failed 0
src fd91::3 dst fd91::2
	proto esp spi 0x4de075eb(1306555883) reqid 1471122956(0x57af8e0c) mode tunnel
	replay-window 0 seq 0x00000000 flag af-unspec esn (0x10100000)
	aead rfc4106(gcm(aes)) <<Keys hidden>> 128
	anti-replay esn context:
	 seq-hi 0x0, seq 0x6, oseq-hi 0x0, oseq 0x0
	 replay_window 128, bitmap-length 4
	 00000000 00000000 00000000 0000003f 
	if_id 0x57af8e0c
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 10800(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  504(bytes), 6(packets)
	  add 2026-11-22 21:13:32 use 2026-11-22 21:14:36
	stats:
	  replay-window 0 replay 0 failed 0
`;

const POLICIES = `src 0.0.0.0/0 dst 100.64.19.99/32 uid 0
	dir out action block index 17 priority 22344 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:14:14 use -
src 0.0.0.0/0 dst 100.64.19.99/32 uid 0
	dir fwd action block index 10 priority 22344 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:14:14 use -
src 0.0.0.0/0 dst 100.64.19.98/32 uid 0
	dir in action block index 8 priority 22344 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:14:14 use -
src 100.64.19.99/32 dst 100.64.19.98/32 uid 0
	dir in action allow index 40 priority 0 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:13:45 use 2026-11-22 21:14:38
	tmpl src fd91::3 dst fd91::2
		proto esp spi 0x00000000(0) reqid 1471122956(0x57af8e0c) mode tunnel
		level required share any 
		enc-mask ffffffff auth-mask ffffffff comp-mask ffffffff
	if_id 0x57af8e0c
src 100.64.19.98/32 dst 100.64.19.99/32 uid 0
	dir out action allow index 33 priority 0 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:13:45 use 2026-11-22 21:14:38
	tmpl src fd91::2 dst fd91::3
		proto esp spi 0x00000000(0) reqid 1471122956(0x57af8e0c) mode tunnel
		level required share any 
		enc-mask ffffffff auth-mask ffffffff comp-mask ffffffff
	if_id 0x57af8e0c
src 0.0.0.0/0 dst 100.64.19.99/32 dev wh-af8e0c uid 0
	dir out action allow index 25 priority 22343 ptype main share any flag  (0x00000000)
	lifetime config:
	  limit: soft (INF)(bytes), hard (INF)(bytes)
	  limit: soft (INF)(packets), hard (INF)(packets)
	  expire add: soft 0(sec), hard 0(sec)
	  expire use: soft 0(sec), hard 0(sec)
	lifetime current:
	  0(bytes), 0(packets)
	  add 2026-11-22 21:13:45 use 2026-11-22 21:14:38
`;

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
  });
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
