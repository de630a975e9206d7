import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, connect, FORWARDER_USER, launch, serve, until } from './forwarder-launch.ts';

/*
 * The tests in which pipes matter, once more with a forwarder that runs as nobody, when they run as root. An unprivileged
 * user gets smaller pipes, and at last none, when it holds many pages in pipes (pipe(7)): root never does.
 */

const NOBODY = '65534';
const isRoot = process.geteuid?.() === 0;
if (!isRoot) console.log('SKIP: every forwarder that this user starts is unprivileged already');
const asRoot = isRoot ? test : test.skip;

test.after.each(closeAll);

for (const name of ['pipes', 'stream', 'fidelity', 'injected']) {
  asRoot(`forwarder-${name} passes with a forwarder that runs as nobody`, async () => {
    const file = fileURLToPath(new URL(`forwarder-${name}.test.ts`, import.meta.url));
    const child = spawn(process.execPath, ['--import', 'tsx', file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, [FORWARDER_USER]: NOBODY },
    });
    const end = (): boolean => child.kill('SIGTERM');
    process.once('exit', end);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
      });
    }
    const [status] = await once(child, 'close');
    process.off('exit', end);
    assert.is(status, 0, output);
  });
}

asRoot('and that forwarder has the rights of nobody', async () => {
  process.env[FORWARDER_USER] = NOBODY;
  const { port } = await serve((socket) => socket.pipe(socket));
  const forwarder = await launch({ to: port });
  await connect(forwarder.port);
  await until(() => forwarder.descriptors('socket') === 3);
  assert.is(forwarder.user(), Number(NOBODY));
});

test.run();
