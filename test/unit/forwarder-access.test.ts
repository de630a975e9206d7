import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, type Forwarder, hear, launch, run, serve, until } from './forwarder-launch.ts';

test.after.each(closeAll);

/** A head on `host` that serves `allowed` only; its target greets. */
async function head(host: string, allowed: string): Promise<{ forwarder: Forwarder; dialled: () => number }> {
  let dialled = 0;
  const { port } = await serve((socket) => {
    dialled += 1;
    socket.end('welcome');
  });
  const forwarder = await launch({ to: port, host, args: ['--allow', allowed] });
  return { forwarder, dialled: () => dialled };
}

/** What a client of `to` hears, who connects from `from`. */
function hears(forwarder: Forwarder, to: string, from?: string): Promise<string> {
  return hear(forwarder.port, { host: to, ...(from === undefined ? {} : { localAddress: from }) });
}

test('the allowed IPv4 client is served, another is reset, told, and never dialled for', async () => {
  const { forwarder, dialled } = await head('127.0.0.1', '127.0.0.1');
  assert.is(await hears(forwarder, '127.0.0.1'), 'welcome');
  assert.is(forwarder.log(), '');
  assert.is(await hears(forwarder, '127.0.0.1', '127.0.0.2'), 'reset');
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /^<4>link test: refused 127\.0\.0\.2:\d+: this head serves 127\.0\.0\.1 only\n$/,
  );
  assert.is(await hears(forwarder, '127.0.0.1'), 'welcome');
  assert.is(dialled(), 2);
});

test('many refused clients are one line, and a count when the link stops', async () => {
  const { forwarder } = await head('127.0.0.1', '10.90.0.1');
  for (let i = 0; i < 20; i++) assert.is(await hears(forwarder, '127.0.0.1'), 'reset');
  assert.is(forwarder.log().match(/\n/g)?.length, 1);
  forwarder.kill('SIGTERM');
  assert.is(await forwarder.exited, 0);
  assert.match(
    forwarder.log(),
    /refused 19 more clients in the last 10 s: this head serves 10\.90\.0\.1 only\n$/,
  );
});

test('an IPv6 address is compared as an address, however it is written', async () => {
  const { forwarder } = await head('::1', '0:0::0:1');
  assert.is(await hears(forwarder, '::1'), 'welcome');
  const other = await head('::1', '2001:db8::1');
  assert.is(await hears(other.forwarder, '::1'), 'reset');
  await until(() => other.forwarder.log() !== '');
  assert.match(other.forwarder.log(), /refused \[::1\]:\d+: this head serves 2001:db8::1 only/);
});

test('an IPv4 client of a listener on [::] counts as IPv4', async () => {
  const { forwarder } = await head('::', '127.0.0.1');
  assert.is(await hears(forwarder, '127.0.0.1'), 'welcome');
  assert.is(await hears(forwarder, '::1'), 'reset');
  assert.is(await hears(forwarder, '127.0.0.1', '127.0.0.2'), 'reset');
});

test('an IPv6 address with the same last bytes is not the IPv4 one', async () => {
  // ::1 ends in 0.0.0.1.
  const { forwarder } = await head('::', '0.0.0.1');
  assert.is(await hears(forwarder, '::1'), 'reset');
  const other = await head('127.0.0.1', '::7f00:1');
  assert.is(await hears(other.forwarder, '127.0.0.1'), 'reset');
});

test('what is no address is refused with one line', async () => {
  for (const wrong of ['beta', '10.90.0.0/24', 'fe80::1%eth0', '']) {
    const forwarder = run(['--link', 'x', '--to', '127.0.0.1:80', '--allow', wrong]);
    assert.is(await forwarder.exited, 2);
    assert.ok(forwarder.log().includes(`--allow "${wrong}" is not an IP address like 10.90.0.1`));
    assert.is(forwarder.log().match(/\n/g)?.length, 1);
  }
});

test.run();
