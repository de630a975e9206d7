import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  isTunnelUnit,
  readTunnel,
  rekeyUnits,
  renderTunnel,
  type Tunnel,
  tunnelUnit,
  UnreadableTunnel,
} from '../../src/units/tunnel.ts';
import { renderer } from './renderer.ts';
import { loadTemplate } from './templates.ts';

const test = suite('the unit of a tunnel');
const template = loadTemplate('tunnel.service');
const where = renderer.installation;

const tunnel: Tunnel = {
  id: '1a2b3c4d5e6f7081',
  peer: 'beta:9998',
  machine: '5f0c1e9b2a7d4e68b3c1d0a9f8e7d6c5',
  outer: { local: '10.0.0.1', remote: '10.0.0.2' },
  inner: { local: '100.64.0.2', remote: '100.64.0.3' },
  mode: 'udp',
  asked: true,
  keyFile: '/etc/wormhole/key.secret',
};

test('what is written is read back', () => {
  for (const one of [tunnel, { ...tunnel, mode: 'esp' as const, asked: false, peer: 'fd00::2' }])
    assert.equal(readTunnel(renderTunnel(one, where, template).text), one);
});

test('one of an earlier version can be read, with an id that no machine can prove', () => {
  const { text } = renderTunnel(tunnel, where, template);
  const earlier = text.replace(/^PeerMachine=.*$/m, 'PeerMachine=0123456789abcdef');
  assert.equal(readTunnel(earlier), { ...tunnel, machine: '0123456789abcdef' });
});

test('one that somebody has edited beyond reading says why', () => {
  const { text } = renderTunnel(tunnel, where, template);
  for (const [from, to, expected] of [
    [/^PeerMachine=.*$/m, 'PeerMachine=beta', /PeerMachine=beta is not 32 hexadecimal digits/],
    [/^PeerMachine=.*$/m, 'PeerMachine=0123456789abcdef01', /is not 32 hexadecimal digits/],
    [/^Local=.*$/m, 'Local=somewhere', /Local=somewhere is not an IPv4 address/],
    [/^Tunnel=.*$/m, '', /Tunnel= is missing/],
    [/^Tunnel=/m, 'Tunnel=0', /Tunnel=01a2b3c4d5e6f7081 is not 16 hexadecimal digits/],
    [/^Tunnel=.*$/m, 'Tunnel=1a2b3c4d5e6f7081 ;', /is not 16 hexadecimal digits/],
    [/^Address=.*$/m, 'Address=x10.0.0.1', /Address=x10\.0\.0\.1 is not an IP address/],
    [/^PeerAddress=.*$/m, 'PeerAddress=10.0.0.2x', /PeerAddress=10\.0\.0\.2x is not an IP address/],
    [/^Peer=.*$/m, 'Peer=', /Peer= is empty/],
    [/^KeyFile=.*$/m, 'KeyFile=', /KeyFile= is empty/],
    [/^Mode=.*$/m, 'Mode=tcp', /Mode=tcp is not esp or udp/],
    [/^Asked=.*$/m, 'Asked=maybe', /Asked=maybe is not yes or no/],
  ] as const)
    assert.throws(
      () => readTunnel(text.replace(from, to)),
      (error: Error) => error instanceof UnreadableTunnel && expected.test(error.message),
    );
});

test('its units are known by their names', () => {
  assert.is(tunnelUnit('fd00::2'), 'wormhole-tunnel@fd00::2.service');
  assert.equal(rekeyUnits('a-b'), {
    timer: 'wormhole-tunnel-rekey@a\\x2db.timer',
    service: 'wormhole-tunnel-rekey@a\\x2db.service',
  });
  assert.ok(isTunnelUnit(tunnelUnit('beta')));
  for (const other of [
    'wormhole-tunnel-rekey@beta.service',
    'wormhole-tunnel@beta.timer',
    'my-wormhole-tunnel@beta.service',
    'wormhole-tunnel@beta.service.d',
  ])
    assert.not.ok(isTunnelUnit(other), other);
});

test.run();
