import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import type net from 'node:net';
import koffi from 'koffi';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, collect, connect, type Forwarder, launch, serve, until } from './forwarder-launch.ts';

/* A bulk stream is as fast after a burst of clients that were held up as before it: it gets a large pipe again. */

test.after.each(closeAll);

const fcntl = koffi.load(null).func('int fcntl(int, int, ...)');
const F_GETPIPE_SZ = 1032;

/** The sizes of the pipes that a process holds, bytes. */
function pipeSizes(pid: number): number[] {
  const sizes = new Map<string, number>();
  for (const fd of readdirSync(`/proc/${pid}/fd`).filter((fd) => Number(fd) > 2)) {
    try {
      const path = `/proc/${pid}/fd/${fd}`;
      const name = readlinkSync(path);
      if (!name.startsWith('pipe:') || sizes.has(name)) continue;
      const pipe = openSync(path, 'r+');
      sizes.set(name, fcntl(pipe, F_GETPIPE_SZ, 'int', 0));
      closeSync(pipe);
    } catch {
      // The process has closed it since the directory was read.
    }
  }
  return [...sizes.values()];
}

/** How many of them are large. Node's own pipes are not. */
const largePipes = (forwarder: Forwarder): number =>
  pipeSizes(forwarder.pid).filter((size) => size === 1 << 19).length;

async function holdUp(forwarder: Forwarder, count: number): Promise<net.Socket[]> {
  const clients: net.Socket[] = [];
  for (let i = 0; i < count; i += 50) {
    clients.push(
      ...(await Promise.all(Array.from({ length: Math.min(50, count - i) }, () => connect(forwarder.port)))),
    );
  }
  for (const client of clients) client.pause().write('send');
  return clients;
}

/** A target that sends more than all buffers on the way take. */
async function bulkTarget(size: number): Promise<number> {
  const bytes = Buffer.alloc(size);
  const { port } = await serve((socket) => socket.once('data', () => socket.end(bytes)));
  return port;
}

for (const ending of ['reset', 'read to the end'] as const) {
  test(`after 80 blocked flows that are ${ending}, a stream gets a large pipe`, async () => {
    const forwarder = await launch({ to: await bulkTarget(6 << 20), args: ['--idle', '0'] });
    const burst = await holdUp(forwarder, 80);
    await until(() => pipeSizes(forwarder.pid).length >= 80, 20_000);
    if (ending === 'reset') for (const client of burst) client.resetAndDestroy();
    else for (const client of burst) assert.is((await collect(client)).bytes.length, 6 << 20);
    for (const client of burst) client.destroy();
    await until(() => forwarder.descriptors('socket') === 1);
    assert.ok(pipeSizes(forwarder.pid).length <= 70);
    const [stream] = (await holdUp(forwarder, 1)) as [net.Socket];
    await until(() => forwarder.descriptors('socket') === 3);
    await until(() => largePipes(forwarder) >= 1);
    assert.is((await collect(stream)).bytes.length, 6 << 20);
    assert.ok(largePipes(forwarder) >= 1);
  });
}

test.run();
