import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { buildPrograms, programs } from '../programs.ts';
import { listenRaw, play } from '../unit/forwarder-fidelity-run.ts';
import { createScript, describeScript } from '../unit/forwarder-fidelity-script.ts';
import { closeAll, collect, connect, launch, until } from '../unit/forwarder-launch.ts';
import { cached } from './rig/cache.ts';
import { run } from './rig/shell.ts';

/*
 * The forwarder on arm64, where struct epoll_event has another layout: Debian's Node for that architecture runs it, on QEMU's
 * emulation of its processor and its system calls (qemu-user), with the koffi of that architecture.
 */

const repository = fileURLToPath(new URL('../..', import.meta.url));
const lock = readFileSync(join(repository, 'package-lock.json'), 'utf8');
const koffiVersion = JSON.parse(lock).packages['node_modules/koffi'].version;

/** Node and its libraries in `root`, koffi in `node_modules`. */
const arm64 = {
  name: 'forwarder-arm64',
  recipe: `bookworm nodejs koffi ${koffiVersion}`,
  make: async (path: string) => {
    mkdirSync(path);
    const tree = ['--quiet', '--mode=root', '--variant=extract', '--architectures=arm64', '--include=nodejs'];
    await run(
      ['unshare', '--mount', '--propagation=private', 'mmdebstrap', ...tree, 'bookworm', join(path, 'root')],
      { timeout: 900 },
    );
    for (const name of ['package.json', 'package-lock.json'])
      cpSync(join(repository, name), join(path, name));
    const kind = ['--cpu=arm64', '--os=linux', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund'];
    await run(['npm', 'ci', '--prefix', path, ...kind], { timeout: 300 });
  },
};

const copy = mkdtempSync(join(tmpdir(), 'wormhole-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
let command: string[] = [];

test.before(async () => {
  const artefact = await cached(arm64);
  buildPrograms();
  cpSync(programs.forwarder, join(copy, 'forwarder.cjs'));
  const addon = 'node_modules/@koromix/koffi-linux-arm64/linux_arm64/koffi.node';
  cpSync(join(artefact, addon), join(copy, 'koffi.node'));
  const root = join(artefact, 'root');
  command = ['qemu-aarch64', '-L', root, join(root, 'usr/bin/node'), join(copy, 'forwarder.cjs')];
});
test.after.each(closeAll);

test('it is arm64 that runs the forwarder', async () => {
  const { stdout } = await run([...command.slice(0, -1), '-p', 'process.arch']);
  assert.is(stdout, 'arm64\n');
});

test('300 random scripts end on arm64 as TCP promises', async () => {
  const target = listenRaw();
  const forwarder = await launch({ to: target.port, args: ['--idle', '0'], command });
  const seeds = Array.from({ length: 300 }, (_, i) => i + 1);
  const troubles = play(seeds.map(createScript), {
    port: forwarder.port,
    listener: target.fd,
    timeout: 120_000,
  })
    // QEMU passes on no more than the first four bytes of TCP_INFO, which tells of a FIN before a reset.
    .filter(({ what }) => !/was not told of the end before the reset/.test(what));
  assert.equal(
    troubles.map(({ seed, what }) => `${what}: ${describeScript(createScript(seed))}`),
    [],
  );
  await until(() => forwarder.descriptors('socket') === 1, 60_000);
  assert.is(forwarder.log(), '');
});

test('SIGTERM on arm64 resets its sessions', async () => {
  const target = listenRaw();
  const forwarder = await launch({ to: target.port, command });
  const client = await connect(forwarder.port);
  // The emulation takes seconds until the first client is served.
  await until(() => forwarder.descriptors('socket') === 3, 60_000);
  const received = collect(client);
  forwarder.kill('SIGTERM');
  assert.is((await received).how, 'ECONNRESET');
  assert.is(await forwarder.exited, 0);
  assert.is(forwarder.log(), '<6>link test: stopped by SIGTERM; reset 1 open session\n');
});

test.run();
