import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  closeAll,
  collect,
  connect,
  type Forwarder,
  launch,
  serve,
  sleep,
  until,
  wasReset,
} from './forwarder-launch.ts';

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

const RANGE = '/proc/sys/net/ipv4/ip_local_port_range';

/** The usual range of source ports; its beginning, from which listeners get their ports here; and ports of targets and of clients beside that. */
const [USUAL, BEGINNING, TARGET, CLIENT] = ['32768 60999', '32768 49999', 60_000, 20_000];

/** Starts a forwarder to a port of this machine, which finds this range of source ports when it starts. */
function launchTo(port: number, timeout: string, range = USUAL): Promise<Forwarder> {
  writeFileSync(RANGE, BEGINNING);
  return launch({
    to: port,
    args: ['--dial-timeout', timeout],
    // It has its port.
    prepare: () => writeFileSync(RANGE, range),
  });
}

test.before(() => {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
});
test.after.each(closeAll);

test('a dial that meets itself is refused, and leaves nothing on the port of the target', async () => {
  const forwarder = await launchTo(TARGET, '0.5');
  const client = await connect(forwarder.port, '127.0.0.1', { localPort: CLIENT });
  writeFileSync(RANGE, `${TARGET} ${TARGET + 1}`);
  client.write('is there anybody?');
  const { bytes, how } = await collect(client);
  assert.is(String(bytes), '', 'the client heard its own words');
  assert.ok(await wasReset(client, how));
  assert.match(forwarder.log(), /refused for 0.5 s/);
  // A socket in TIME-WAIT would keep the port for a minute.
  const server = net.createServer().listen(TARGET, '127.0.0.1');
  await once(server, 'listening');
  server.close();
});

test('the next client is served when the target has bound that port', async () => {
  const target = TARGET + 2;
  const forwarder = await launchTo(target, '60');
  const client = await connect(forwarder.port, '127.0.0.1', { localPort: CLIENT + 1 });
  writeFileSync(RANGE, `${target} ${target + 1}`);
  client.write('hello');
  await sleep(300);
  await serve((socket) => socket.end('welcome'), target);
  assert.is(String((await collect(client)).bytes), 'welcome');
  client.end();
  await until(() => forwarder.descriptors('socket') === 1);
});

test('the guard covers both ends of the range of source ports, as it was when the forwarder started', async () => {
  const [first, last] = [TARGET + 4, TARGET + 5];
  for (const target of [first, last]) {
    const forwarder = await launchTo(target, '0.5', `${first} ${last}`);
    const client = await connect(forwarder.port, '127.0.0.1', { localPort: CLIENT + target - TARGET });
    // It has accepted the client, and so has started.
    await until(() => forwarder.descriptors('socket') > 1);
    // One source port is left: that of the target.
    writeFileSync(RANGE, `${target} ${target}`);
    client.write('is there anybody?');
    const { bytes, how } = await collect(client);
    assert.is(String(bytes), '', `the client heard its own words by port ${target}`);
    assert.ok(await wasReset(client, how));
  }
});

test.run();
