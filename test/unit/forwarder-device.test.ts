import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, type Forwarder, hear, launch, run, serve, until } from './forwarder-launch.ts';

/* The interfaces that sockets of the forwarder are bound to. `lo` is there on every machine, `wh-000000` on none. */

const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
const file = join(directory, 'to');

test.after.each(closeAll);
test.after(() => rmSync(directory, { recursive: true }));

/** A target that greets, and a forwarder that reads from its file the target's address, followed by `words`. */
async function towards(words: string): Promise<{ forwarder: Forwarder; dialled: () => number }> {
  let dialled = 0;
  const { port } = await serve((socket) => {
    dialled += 1;
    socket.end('welcome');
  });
  writeFileSync(file, `127.0.0.1:${port}${words}\n`);
  const forwarder = await launch({ args: ['--to-file', file, '--dial-timeout', '0.3'] });
  return { forwarder, dialled: () => dialled };
}

test('a target is dialled through the interface that its file names', async () => {
  const { forwarder } = await towards(' lo');
  assert.is(await hear(forwarder.port), 'welcome');
  assert.is(forwarder.log(), '');
});

test('without that interface it is not dialled at all, although there is a route', async () => {
  const { forwarder, dialled } = await towards(' wh-000000');
  assert.is(await hear(forwarder.port), 'reset');
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /^<4>link test: 127\.0\.0\.1:\d+ could not be reached for 0\.3 s \(ENODEV: no such device\); closed the client /,
  );
  assert.is(dialled(), 0);
});

test('a file whose second word is no interface leads nowhere', async () => {
  for (const words of [' ', ' wh-000000 lo', ' a/b', ' sixteen-letters-']) {
    const { forwarder, dialled } = await towards(words);
    assert.is(await hear(forwarder.port), 'reset');
    await until(() => forwarder.log() !== '');
    assert.match(forwarder.log(), /is of no use: "[^\n]*" is not the name of a network interface/);
    assert.is(dialled(), 0);
  }
});

test('clients are served through one interface, and reset when it is missing', async () => {
  const { port } = await serve((socket) => socket.end('welcome'));
  const bound = await launch({ to: port, args: ['--interface', 'lo'] });
  assert.is(await hear(bound.port), 'welcome');
  assert.is(bound.log(), '');
  const unbound = await launch({ to: port, args: ['--interface', 'wh-000000'] });
  assert.is(await hear(unbound.port), 'reset');
  assert.is(await hear(unbound.port), 'reset');
  await until(() => unbound.log() !== '');
  assert.match(
    unbound.log(),
    /^<4>link test: a client could not be bound to interface wh-000000 \(ENODEV: no such device\) and is refused: is the tunnel up\?\n$/,
  );
});

test('what is no name of an interface is refused with one line', async () => {
  const forwarder = run(['--link', 'x', '--to', '127.0.0.1:80', '--interface', 'a b']);
  assert.is(await forwarder.exited, 2);
  assert.match(
    forwarder.log(),
    /^[^\n]*"a b" is not the name of a network interface like wh-1a2b3c[^\n]*\n$/,
  );
});

test.run();
