import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, collect, connect, freePort, hear, launch, serve, until } from './forwarder-launch.ts';

/* What the forwarder counts, in the file that it is given as standard output. */

const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
test.after.each(closeAll);

/** The figures and the failure in a file, by name. */
function read(file: string): { figures: Record<string, number>; failure: string } {
  const bytes = readFileSync(file);
  const [format, names = '', texts] = bytes.toString('latin1', 0, 1024).split('\n');
  assert.is(format, 'wormhole counters 1');
  assert.is(texts, 'failure');
  const figures = Object.fromEntries(
    names.split(' ').map((name, index) => [name, bytes.readDoubleLE(1024 + 8 * index)]),
  );
  return { figures, failure: bytes.toString('utf8', 3072, bytes.indexOf(0, 3072)) };
}

/** Starts the forwarder with a file of counters, which may exist. */
async function launchCounting(file: string, to: number | string, args: string[] = []) {
  closeSync(openSync(file, 'a'));
  return launchWith(file, to, args);
}

async function launchWith(output: string, to: number | string, args: string[] = []) {
  const stdout = openSync(output, 'r+');
  try {
    return await launch({ to, args: ['--counters', '1', ...args], stdout });
  } finally {
    closeSync(stdout);
  }
}

test('sessions, bytes each way and resets are counted as they happen', async () => {
  const file = join(directory, 'sessions');
  const { port } = await serve((socket) => socket.once('data', () => socket.write('world')));
  const forwarder = await launchCounting(file, port);
  const client = await connect(forwarder.port);
  const heard = collect(client);
  client.write('hello you');
  await until(() => statSync(file).size === 4096 && read(file).figures.bytesFromTarget === 5);
  const { figures } = read(file);
  assert.is(figures.open, 1);
  assert.is(figures.served, 1);
  assert.is(figures.bytesFromClients, 9);
  assert.is(figures.unserved, 0);
  assert.ok(figures.limit && figures.limit > 100);
  client.resetAndDestroy();
  await heard;
  await until(() => read(file).figures.open === 0);
  assert.is(read(file).figures.resetsByClient, 1);
  const dials = Object.entries(read(file).figures).filter(([name]) => name.startsWith('dial<='));
  assert.is(dials.length, 12);
  assert.is(
    dials.reduce((sum, [, count]) => sum + count, 0),
    1,
  );
});

test('the time at which it ends without a client is there when nothing is open, and goes when it has ended', async () => {
  const file = join(directory, 'idle');
  const { port } = await serve((socket) => socket.pipe(socket));
  const began = Date.now();
  const forwarder = await launchCounting(file, port, ['--idle', '600']);
  await until(() => statSync(file).size === 4096 && (read(file).figures.idleAt ?? 0) > 0);
  const first = read(file).figures.idleAt ?? 0;
  assert.ok(first >= began + 600_000 - 1 && first <= Date.now() + 600_000, `${first - began} ms`);
  const client = await connect(forwarder.port);
  await until(() => read(file).figures.open === 1);
  client.destroy();
  await until(() => (read(file).figures.idleAt ?? 0) > first);
  forwarder.kill('SIGTERM');
  await forwarder.exited;
  assert.is(read(file).figures.idleAt, 0);
});

test('clients that are closed count as failures in a row, until one is served', async () => {
  const file = join(directory, 'failing');
  const before = Date.now();
  const port = freePort();
  const forwarder = await launchCounting(file, port, ['--dial-timeout', '0.1']);
  for (let i = 0; i < 3; i++) {
    assert.is(await hear(forwarder.port), 'reset');
  }
  const { figures, failure } = read(file);
  assert.equal([figures.failing, figures.unserved, figures.served], [3, 3, 0]);
  assert.match(failure, new RegExp(`^127\\.0\\.0\\.1:${port} refused.* \\(ECONNREFUSED`));
  const { failingSince = 0, failedAt = 0 } = figures;
  assert.ok(before <= failingSince && failingSince <= failedAt && failedAt <= Date.now());
  await serve((socket) => socket.end('hello'), port);
  assert.is(await hear(forwarder.port), 'hello');
  assert.equal(
    [read(file).figures.failing, read(file).figures.unserved, read(file).figures.served],
    [0, 3, 1],
  );
});

test('figures outlive kill -9, and the next forwarder goes on from them', async () => {
  const file = join(directory, 'kill');
  const { port } = await serve((socket) => socket.end('hello'));
  const first = await launchCounting(file, port);
  assert.is(await hear(first.port), 'hello');
  first.kill('SIGKILL');
  await first.exited;
  const second = await launchCounting(file, port);
  assert.is(await hear(second.port), 'hello');
  assert.is(read(file).figures.served, 2);
  assert.is(read(file).figures.bytesFromTarget, 10);
});

test('figures of a file of another version are kept by name, and new ones begin at 0', async () => {
  const file = join(directory, 'version');
  const old = Buffer.alloc(4096);
  old.write('wormhole counters 1\ngone served\nold\n');
  old.writeDoubleLE(7, 1024);
  old.writeDoubleLE(41, 1032);
  writeFileSync(file, old);
  const { port } = await serve((socket) => socket.end('hello'));
  const forwarder = await launchCounting(file, port);
  assert.is(await hear(forwarder.port), 'hello');
  assert.is(read(file).figures.served, 42);
  assert.is(read(file).figures.bytesFromTarget, 5);
});

test('a file that cannot be used costs one line, and no client', async () => {
  const { port } = await serve((socket) => socket.end('hello'));
  const forwarder = await launchWith('/dev/null', port);
  assert.is(await hear(forwarder.port), 'hello');
  assert.match(
    forwarder.log(),
    /^<3>link test: the file of its counters cannot be used: descriptor 1 is not a file; it counts from zero\n$/,
  );
  // A full disk, as far as a program can tell.
  const full = await launchWith('/dev/full', port);
  assert.is(await hear(full.port), 'hello');
});

test.run();
