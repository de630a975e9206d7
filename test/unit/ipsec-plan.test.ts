import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { tunnelMtu } from '../../src/ipsec/mtu.ts';
import {
  interfaceOf,
  isTunnelId,
  isTunnelNumber,
  numberOfInterface,
  tunnelNumber,
} from '../../src/ipsec/names.ts';
import { associationStep, expireStep, guardSteps, interfaceSteps, removeStep } from '../../src/ipsec/plan.ts';

const test = suite('the plan of a tunnel');

const outer = { local: '10.0.0.1', remote: '10.0.0.2' };
const inner = { local: '100.64.0.2', remote: '100.64.0.3' };
const number = tunnelNumber('1a2b3c4d5e6f7081');
const key = Buffer.from(Array.from({ length: 36 }, (_, i) => i));
const KEY = '0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223';
const PROPERTIES =
  'reqid 1461332796 mode tunnel if_id 1461332796 replay-window 128 flag af-unspec flag esn limit time-hard';

const lines = (steps: { line: string }[]) => steps.map(({ line }) => line);
const undos = (steps: { undo?: string }[]) => steps.map(({ undo }) => undo);

test('numbers and names come from the id, and are known again', () => {
  assert.is(number, 0x571a2b3c);
  assert.is(interfaceOf(number), 'wh-1a2b3c');
  assert.is(numberOfInterface('wh-1a2b3c'), number);
  assert.is(interfaceOf(tunnelNumber('00000a0000000000')), 'wh-00000a');
  for (const other of ['wh-1a2b3', 'wh-1A2B3C', 'wh-1a2b3c4', 'eth0'])
    assert.is(numberOfInterface(other), undefined);
  assert.ok(isTunnelNumber(number));
  assert.not(isTunnelNumber(0x581a2b3c));
  assert.not(isTunnelNumber(7));
  assert.ok(isTunnelId('0123456789abcdef'));
  for (const other of ['0123456789abcde', '0123456789abcdef0', '0123456789ABCDEF', ''])
    assert.not(isTunnelId(other), other);
});

test('clear text is blocked in all three directions', () => {
  assert.equal(lines(guardSteps(inner)), [
    'xfrm policy update src 0.0.0.0/0 dst 100.64.0.2/32 dir in priority 22344 action block',
    'xfrm policy update src 0.0.0.0/0 dst 100.64.0.3/32 dir fwd priority 22344 action block',
    'xfrm policy update src 0.0.0.0/0 dst 100.64.0.3/32 dir out priority 22344 action block',
  ]);
  assert.equal(undos(guardSteps(inner)), [
    'xfrm policy delete src 0.0.0.0/0 dst 100.64.0.2/32 dir in',
    'xfrm policy delete src 0.0.0.0/0 dst 100.64.0.3/32 dir fwd',
    'xfrm policy delete src 0.0.0.0/0 dst 100.64.0.3/32 dir out',
  ]);
});

test('the interface, its address and its policies, and back', () => {
  const steps = interfaceSteps({ number, outer, inner, mtu: 1346 });
  assert.equal(lines(steps), [
    'link add wh-1a2b3c mtu 1346 type xfrm if_id 1461332796',
    'xfrm policy add src 0.0.0.0/0 dst 100.64.0.3/32 dev wh-1a2b3c dir out priority 22343 action allow',
    'xfrm policy add src 100.64.0.2/32 dst 100.64.0.3/32 dir out if_id 1461332796 tmpl src 10.0.0.1 dst 10.0.0.2 proto esp reqid 1461332796 mode tunnel',
    'xfrm policy add src 100.64.0.3/32 dst 100.64.0.2/32 dir in if_id 1461332796 tmpl src 10.0.0.2 dst 10.0.0.1 proto esp reqid 1461332796 mode tunnel',
    'address add 100.64.0.2 peer 100.64.0.3 dev wh-1a2b3c',
    'link set wh-1a2b3c up',
  ]);
  assert.equal(undos(steps), [
    'link delete wh-1a2b3c',
    'xfrm policy delete src 0.0.0.0/0 dst 100.64.0.3/32 dev wh-1a2b3c dir out',
    'xfrm policy delete src 100.64.0.2/32 dst 100.64.0.3/32 dir out if_id 1461332796',
    'xfrm policy delete src 100.64.0.3/32 dst 100.64.0.2/32 dir in if_id 1461332796',
    undefined,
    undefined,
  ]);
});

test('a security association for each direction, of either family, in UDP or not', () => {
  const end = { number, outer };
  const ports = { local: 4500, remote: 4507 };
  assert.equal(associationStep({ direction: 'in', end, association: { spi: 0x1234, key } }), {
    line: `xfrm state add src 10.0.0.2 dst 10.0.0.1 proto esp spi 0x1234 ${PROPERTIES} 10800 aead rfc4106(gcm(aes)) ${KEY} 128`,
    undo: 'xfrm state delete src 10.0.0.2 dst 10.0.0.1 proto esp spi 0x1234',
  });
  assert.equal(associationStep({ direction: 'out', end, association: { spi: 0xfedcba98, key }, ports }), {
    line: `xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0xfedcba98 ${PROPERTIES} 10800 encap espinudp 4500 4507 0.0.0.0 aead rfc4106(gcm(aes)) ${KEY} 128`,
    undo: 'xfrm state delete src 10.0.0.1 dst 10.0.0.2 proto esp spi 0xfedcba98',
  });
  const six = { number, outer: { local: 'fd00::1', remote: 'fd00::2' } };
  assert.match(
    associationStep({ direction: 'in', end: six, association: { spi: 256, key }, ports }).line,
    /^xfrm state add src fd00::2 dst fd00::1 .* encap espinudp 4507 4500 :: aead/,
  );
});

test('a replaced security association expires by itself, and its key is not repeated', () => {
  const id = { src: '10.0.0.2', dst: '10.0.0.1', spi: 0x1234 };
  assert.equal(expireStep({ number, id }, 3000), {
    line: `xfrm state update src 10.0.0.2 dst 10.0.0.1 proto esp spi 0x1234 ${PROPERTIES} 3010 aead rfc4106(gcm(aes)) 0x${'0'.repeat(72)} 128`,
  });
  assert.match(
    expireStep({ number, id, encap: 'espinudp 4500 4507 0.0.0.0' }, 0).line,
    / 10 encap espinudp 4500 4507 0\.0\.0\.0 aead/,
  );
  assert.equal(removeStep(id), { line: 'xfrm state delete src 10.0.0.2 dst 10.0.0.1 proto esp spi 0x1234' });
});

test('what is encrypted fits into 1400 bytes, and would not with one byte more than the MTU', () => {
  // RFC 4303, 2.4: with the trailer's two bytes, the packet is filled up to a multiple of 4.
  const encrypted = (bytes: number, headers: number) => headers + 8 + 8 + Math.ceil((bytes + 2) / 4) * 4 + 16;
  for (const [peer, udp, headers, expected] of [
    ['10.0.0.2', false, 20, 1346],
    ['10.0.0.2', true, 28, 1338],
    ['fd00::2', false, 40, 1326],
    ['fd00::2', true, 48, 1318],
  ] as const) {
    const mtu = tunnelMtu(9000, peer, udp);
    assert.is(mtu, expected);
    assert.ok(encrypted(mtu, headers) <= 1400);
    assert.ok(encrypted(mtu + 1, headers) > 1400);
    assert.is(tunnelMtu(1400, peer, udp), expected);
    assert.ok(encrypted(tunnelMtu(1287, peer, udp), headers) <= 1287);
  }
});

test.run();
