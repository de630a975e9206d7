import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, collect, connect, launch, serve, sleep, until, wasReset } from './forwarder-launch.ts';

/*
 * A dial from the very port that it goes to connects the socket to itself. To make that certain, this file runs in a
 * network namespace of its own in which the kernel has two source ports to choose from.
 */

const INSIDE = 'WORMHOLE_TEST_IN_NAMESPACE';

if (process.env[INSIDE] === undefined) {
  const isRoot = process.geteuid?.() === 0;
  const { status } = spawnSync(
    'unshare',
    [
      ...(isRoot ? [] : ['--map-root-user']),
      '--net',
      process.execPath,
      '--import',
      'tsx',
      fileURLToPath(import.meta.url),
    ],
    { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } },
  );
  process.exit(status ?? 1);
}

/** A port that nothing has bound. */
async function unboundPort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

test.before(() => {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
});
test.after.each(closeAll);

test('a dial that meets itself is refused, and leaves nothing on the port of the target', async () => {
  const first = (await unboundPort()) & ~1;
  const forwarder = await launch({ to: first, args: ['--dial-timeout', '0.5'] });
  // The port of the client is chosen before the choice is narrowed.
  const client = await connect(forwarder.port);
  writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', `${first} ${first + 1}`);
  client.write('is there anybody?');
  const { bytes, how } = await collect(client);
  assert.is(String(bytes), '', 'the client heard its own words');
  assert.ok(await wasReset(client, how));
  assert.match(forwarder.log(), /refused for 0.5 s/);
  // A socket in TIME-WAIT would keep the port for a minute.
  const server = net.createServer().listen(first, '127.0.0.1');
  await once(server, 'listening');
  server.close();
});

test('the next client is served when the target has bound that port', async () => {
  writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', '32768 60999');
  const first = (await unboundPort()) & ~1;
  const forwarder = await launch({ to: first, args: ['--dial-timeout', '60'] });
  const client = await connect(forwarder.port);
  writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', `${first} ${first + 1}`);
  client.write('hello');
  await sleep(300);
  await serve((socket) => socket.end('welcome'), first);
  assert.is(String((await collect(client)).bytes), 'welcome');
  client.end();
  await until(() => forwarder.descriptors('socket') === 1);
});

test('the guard covers both ends of the range of source ports, as it was when the forwarder started', async () => {
  const range = '/proc/sys/net/ipv4/ip_local_port_range';
  writeFileSync(range, '32768 60999');
  const port = await unboundPort();
  const [first, last] = [port & ~1, port | 1];
  for (const target of [first, last]) {
    writeFileSync(range, '32768 60999');
    const forwarder = await launch({
      to: target,
      args: ['--dial-timeout', '0.5'],
      // It has its port. The forwarder reads the range as it starts.
      prepare: () => writeFileSync(range, `${first} ${last}`),
    });
    await until(() => forwarder.descriptors('socket') > 0);
    const client = await connect(forwarder.port, '127.0.0.1', { localPort: 20_000 + target - first });
    // One source port is left: that of the target.
    writeFileSync(range, `${target} ${target}`);
    client.write('is there anybody?');
    const { bytes, how } = await collect(client);
    assert.is(String(bytes), '', `the client heard its own words by port ${target}`);
    assert.ok(await wasReset(client, how));
  }
});

test.run();
