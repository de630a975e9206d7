import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseOptions } from '../../src/forwarder/options.ts';

/* The command line of the forwarder, which units have. */

const parse = (...args: string[]) => parseOptions(['--link', 'x', ...args]);
const TO = ['--to', '127.0.0.1:80'];

test('without options, everything has its default', () => {
  const { to, ...rest } = parse(...TO);
  assert.is(to?.text, '127.0.0.1:80');
  assert.equal(rest, {
    link: 'x',
    toFile: undefined,
    name: undefined,
    ask: undefined,
    restarter: undefined,
    allow: undefined,
    device: undefined,
    peerTimeout: undefined,
    location: undefined,
    idle: 60_000,
    failedFile: undefined,
    dialTimeout: 5000,
    counters: undefined,
    maxOpen: 4000,
    maxPerSource: undefined,
    rate: undefined,
    idleTimeout: undefined,
    keepAlive: undefined,
    udpTimeout: 60_000,
    maxSessions: 4096,
    proxyProtocol: undefined,
    acceptProxyProtocol: [],
    balance: undefined,
    handOff: undefined,
    checkEvery: undefined,
    workers: undefined,
    cpuLimits: [],
  });
});

test('each option has its place and its unit', () => {
  const options = parse(
    ...['--to-file', '/f', '--ask', '/a', '--name', 'db:1', '--restarter', '@r', '--interface', 'wh-1'],
    ...['--peer-timeout', '2', '--place', 'container db', '--idle', '0.5', '--given-up', '/g'],
    ...[
      '--dial-timeout',
      '3',
      '--counters',
      '5',
      '--max-connections',
      '6.9',
      '--max-per-source',
      '7',
      '--rate',
      '8',
    ],
    ...['--idle-timeout', '9', '--keepalive', '10', '--udp-timeout', '11', '--max-sessions', '0'],
    ...[
      '--proxy-protocol',
      'v1',
      '--accept-proxy-protocol',
      '10.0.0.0/8,::1',
      '--hand-off',
      'once',
      '--check',
      '12',
    ],
  );
  const { ask, restarter, device, acceptProxyProtocol, ...rest } = options;
  assert.equal([ask?.text, restarter?.text, device?.text], ['/a', '@r', 'wh-1']);
  assert.equal(
    acceptProxyProtocol.map(({ bits }) => bits),
    [8, 128],
  );
  assert.equal(rest, {
    link: 'x',
    to: undefined,
    toFile: '/f',
    name: 'db:1',
    allow: undefined,
    peerTimeout: 2000,
    location: 'container db',
    idle: 500,
    failedFile: '/g',
    dialTimeout: 3000,
    counters: 5,
    maxOpen: 6,
    maxPerSource: 7,
    rate: 8,
    idleTimeout: 9000,
    keepAlive: 10,
    udpTimeout: 11_000,
    maxSessions: 1,
    proxyProtocol: 'v1',
    balance: undefined,
    handOff: 'once',
    checkEvery: 12_000,
    workers: undefined,
    cpuLimits: [],
  });
  assert.is(parse(...TO, '--allow', '10.0.0.1').allow?.address, '10.0.0.1');
  assert.is(parse(...TO, '--proxy-protocol', 'v2').proxyProtocol, 'v2');
  assert.is(parse(...TO, '--hand-off', 'retry').handOff, 'retry');
  assert.is(parse('--to', '[::1]:80').to?.family, 10);
});

test('a target may be a unix socket', () => {
  for (const text of ['/run/x.sock', '@name']) {
    const { to } = parse('--to', text);
    assert.equal([to?.text, to?.family, to?.port], [text, 1, 0]);
  }
});

test('tails are in their order', () => {
  const { balance } = parse(
    ...['--tail', 'a-long /run/a 1 15', '--tail', 'b @b 256 0 on-demand', '--balance', 'source'],
    ...['--drained', 'a', '--drained', 'c', '--drained-file', '/d'],
  );
  assert.equal(
    balance?.tails.map(({ address, ...tail }) => ({ ...tail, address: address.text })),
    [
      { name: 'a-long', weight: 1, timeout: 15_000, isOnDemand: false, address: '/run/a' },
      { name: 'b', weight: 256, timeout: 0, isOnDemand: true, address: '@b' },
    ],
  );
  assert.equal([balance?.policy, balance?.drained, balance?.drainedFile], ['source', ['a', 'c'], '/d']);
  const { balance: plain } = parse('--tail', 'a /run/a 1 5');
  assert.equal([plain?.policy, plain?.drained, plain?.drainedFile], ['least', [], undefined]);
  for (const policy of ['least', 'round-robin', 'first', 'source'])
    assert.is(parse('--tail', 'a /a 1 5', '--balance', policy).balance?.policy, policy);
});

for (const [args, message] of [
  [['--to', 'x'], '"x" is not an address like 127.0.0.1:3306 or [::1]:80'],
  [[], '--to is missing, and --to-file too'],
  [[...TO, '--to-file', '/f'], '--to "127.0.0.1:80" and --to-file "/f" exclude each other'],
  [[...TO, '--ask', '/a'], '--ask "/a" needs --to-file'],
  [[...TO, '--name', 'db:1'], '--name "db:1" needs --to-file'],
  [
    [...TO, '--allow', '10.0.0.1', '--proxy-protocol', 'v1'],
    '--allow "10.0.0.1" and PROXY headers exclude each other: the forwarder of that machine sends them',
  ],
  [
    [...TO, '--allow', '10.0.0.1', '--accept-proxy-protocol', '::/0'],
    '--allow "10.0.0.1" and PROXY headers exclude each other: the forwarder of that machine sends them',
  ],
  [[...TO, '--allow', 'x'], '--allow "x" is not an IP address like 10.90.0.1 or 2001:db8::1'],
  [[...TO, '--proxy-protocol', 'v3'], '--proxy-protocol "v3" is neither v1 nor v2'],
  [
    [...TO, '--accept-proxy-protocol', 'x'],
    '--accept-proxy-protocol "x" is not a network like 10.0.0.0/8 or fd00::/8',
  ],
  [[...TO, '--hand-off', 'never'], '--hand-off "never" is neither once nor retry'],
  [[...TO, '--idle', 'x'], '--idle "x" is not a number'],
  [[...TO, '--idle', '1x'], '--idle "1x" is not a number'],
  [[...TO, '--idle', 'x1'], '--idle "x1" is not a number'],
  [[...TO, '--idle', '1.'], '--idle "1." is not a number'],
  [[...TO, '--max-connections', ''], '--max-connections "" is not a number'],
  [[...TO, '--max-per-source', 'a'], '--max-per-source "a" is not a number'],
  [[...TO, '--rate', 'a'], '--rate "a" is not a number'],
  [[...TO, '--counters', 'a'], '--counters "a" is not a number'],
  [[...TO, '--dial-timeout', 'a'], '--dial-timeout "a" is not a number'],
  [[...TO, '--udp-timeout', 'a'], '--udp-timeout "a" is not a number'],
  [[...TO, '--max-sessions', 'a'], '--max-sessions "a" is not a number'],
  [[...TO, '--peer-timeout', '0.9'], '--peer-timeout "0.9" is not between 1 and 86400 seconds'],
  [[...TO, '--idle-timeout', '86401'], '--idle-timeout "86401" is not between 1 and 86400 seconds'],
  [[...TO, '--check', '0'], '--check "0" is not between 1 and 86400 seconds'],
  [[...TO, '--keepalive', '32768'], '--keepalive "32768" is not between 1 and 32767 seconds'],
  [[...TO, '--interface', 'a/b'], '"a/b" is not the name of a network interface like wh-1a2b3c'],
  [
    ['--to-file', '/f', '--ask', 'x'],
    '--ask "x" is neither a path nor an abstract name of a socket (at most 107 bytes)',
  ],
  [
    [...TO, '--restarter', 'x'],
    '--restarter "x" is neither a path nor an abstract name of a socket (at most 107 bytes)',
  ],
  [
    ['--to', `/${'x'.repeat(107)}`],
    `--to "/${'x'.repeat(107)}" is neither a path nor an abstract name of a socket (at most 107 bytes)`,
  ],
  [
    ['--tail', 'a /a 1 5', '--balance', 'most'],
    '--balance "most" is none of least, round-robin, first, source',
  ],
  ...[
    '',
    'a',
    'a /a 0 5',
    'a /a 1',
    'a /a x 5',
    'a /a 1 5 ondemand',
    ' a /a 1 5',
    'a /a 1 5 on-demand x',
    'a /a 1 5x',
  ].map((tail) => [['--tail', tail], `--tail "${tail}" is not NAME SOCKET WEIGHT SECONDS [on-demand]`]),
  [
    ['--tail', 'a a 1 5'],
    '--tail "a" is neither a path nor an abstract name of a socket (at most 107 bytes)',
  ],
] as [string[], string][])
  test(`refused: ${args.join(' ').slice(0, 60)}`, () => {
    assert.throws(
      () => parse(...args),
      (error: Error) => {
        assert.is(error.message, message);
        return true;
      },
    );
  });

test('the edges of what is allowed', () => {
  assert.is(parse(...TO, '--peer-timeout', '1').peerTimeout, 1000);
  assert.is(parse(...TO, '--peer-timeout', '86400').peerTimeout, 86_400_000);
  assert.is(parse(...TO, '--keepalive', '32767').keepAlive, 32_767);
  assert.is(parse(...TO, '--idle', '0').idle, 0);
  assert.is(parse(...TO, '--idle', '12.25').idle, 12_250);
});

test('a link has an id', () => {
  for (const args of [TO, ['--link', '', ...TO]])
    assert.throws(
      () => parseOptions(args),
      ({ message }: Error) => message === '--link is missing',
    );
  assert.throws(() => parse(...TO, '--nonsense'), /--nonsense/);
});

test.run();
