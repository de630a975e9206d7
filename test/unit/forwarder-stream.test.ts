import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type net from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, collect, connect, launch, load, serve, sleep, until, within } from './forwarder-launch.ts';

test.after.each(closeAll);

const MB = 1 << 20;
const pool = randomBytes(4 * MB);

/** Sends `size` bytes in chunks of random size and tells their hash. */
async function sendRandom(socket: net.Socket, size: number): Promise<string> {
  const hash = createHash('sha256');
  for (let left = size; left > 0; ) {
    const length = Math.min(left, 1 + Math.floor(Math.random() ** 4 * 600_000));
    const from = Math.floor(Math.random() * (pool.length - length));
    const chunk = pool.subarray(from, from + length);
    hash.update(chunk);
    left -= length;
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}

async function receive(socket: net.Socket): Promise<string> {
  const hash = createHash('sha256');
  socket.on('data', (chunk) => hash.update(chunk));
  await once(socket, 'end');
  return hash.digest('hex');
}

test('100 MB go both ways at once, byte for byte', async () => {
  let arrived: Promise<string> | undefined;
  let answered: Promise<string> | undefined;
  const target = await serve((socket) => {
    arrived = receive(socket);
    answered = sendRandom(socket, 100 * MB);
  });
  const forwarder = await launch({ to: target.port });
  const client = await connect(forwarder.port);
  const [sent, got] = await within(300_000, Promise.all([sendRandom(client, 100 * MB), receive(client)]));
  assert.is(await arrived, sent);
  assert.is(got, await answered);
});

test('many small messages come back in order', async () => {
  const target = await serve((socket) => socket.pipe(socket));
  const forwarder = await launch({ to: target.port });
  const clients = await Promise.all(Array.from({ length: 10 }, () => connect(forwarder.port)));
  await Promise.all(
    clients.map(async (client) => {
      for (let i = 0; i < 300; i++) {
        client.write(`ping ${i}`);
        const [answer] = await once(client, 'data');
        assert.is(String(answer), `ping ${i}`);
      }
    }),
  );
});

test('a client that has said its last word still gets the answer', async () => {
  const target = await serve(async (socket) => {
    const { bytes } = await collect(socket);
    await sleep(50);
    socket.end(`heard ${bytes}`);
  });
  const forwarder = await launch({ to: target.port });
  const client = await connect(forwarder.port);
  client.end('question');
  const { bytes, how } = await collect(client);
  assert.is(String(bytes), 'heard question');
  assert.is(how, 'end');
});

test('a target that has said its last word still hears the client', async () => {
  let heard: Promise<{ bytes: Buffer; how: string }> | undefined;
  const target = await serve((socket) => {
    heard = collect(socket);
    socket.end('greeting');
  });
  const forwarder = await launch({ to: target.port });
  const client = await connect(forwarder.port);
  assert.is(String((await collect(client)).bytes), 'greeting');
  await sleep(50);
  client.end('and yet it moves');
  assert.is(String((await heard)?.bytes), 'and yet it moves');
  await until(() => forwarder.descriptors('socket') === 1);
});

test('a half-closed connection costs no processor time', async () => {
  const ended: net.Socket[] = [];
  const target = await serve((socket) => socket.resume().on('end', () => ended.push(socket)));
  const forwarder = await launch({ to: target.port });
  const client = await connect(forwarder.port);
  client.end();
  await until(() => ended.length === 1);
  assert.ok((await load(forwarder)) < 0.3);
  ended[0]?.end('late');
  assert.is(String((await collect(client)).bytes), 'late');
});

test('a slow reader holds the sender up, and costs neither memory nor processor time', async () => {
  let taken = 0;
  const target = await serve((socket) => {
    const fill = (): void => {
      while (taken < 64 * MB) {
        taken += MB;
        if (!socket.write(pool.subarray(0, MB))) return;
      }
      socket.end();
    };
    socket.on('drain', fill);
    fill();
  });
  const forwarder = await launch({ to: target.port });
  const client = (await connect(forwarder.port)).pause();
  await until(() => taken > 0);
  for (let before = -1; before !== taken; await sleep(500)) before = taken;
  const memory = forwarder.memory();
  assert.ok((await load(forwarder)) < 0.3);
  assert.ok(taken < 40 * MB, `the sender was not held up: ${taken} bytes`);
  assert.ok(forwarder.memory() - memory < 4 * MB);
  const { bytes, how } = await collect(client);
  assert.is(bytes.length, 64 * MB);
  assert.is(how, 'end');
});

test('both sides have ended but the last bytes are held up: no spin, and all arrive', async () => {
  // With some of these sizes the FIN has come while bytes wait in the pipe, with others it is still behind them.
  const sizes = Array.from({ length: 24 }, (_, i) => (i + 1) * 400_000);
  const bytes = Buffer.concat([pool, pool, pool]);
  const target = await serve((socket) => {
    socket.once('data', (size) => socket.end(bytes.subarray(0, Number(size))));
  });
  const forwarder = await launch({ to: target.port });
  const clients: net.Socket[] = [];
  for (const size of sizes) {
    const client = (await connect(forwarder.port)).pause();
    client.end(`${size}`);
    clients.push(client);
  }
  await sleep(300);
  assert.ok((await load(forwarder)) < 0.3);
  for (const [i, client] of clients.entries()) {
    const received = await collect(client);
    assert.ok(received.bytes.equals(bytes.subarray(0, sizes[i])));
    assert.is(received.how, 'end');
  }
});

test('2,000 connections need few pipes', async () => {
  const target = await serve((socket) => socket.pipe(socket));
  const forwarder = await launch({ to: target.port });
  const clients: net.Socket[] = [];
  for (let i = 0; i < 20; i++) {
    clients.push(...(await Promise.all(Array.from({ length: 100 }, () => connect(forwarder.port)))));
  }
  await within(
    120_000,
    Promise.all(
      clients.map(async (client, i) => {
        client.write(`${i}`);
        assert.is(String((await once(client, 'data'))[0]), `${i}`);
      }),
    ),
  );
  assert.is(forwarder.descriptors('socket'), 4001);
  assert.ok(forwarder.descriptors('pipe') <= 2 * 64 + 10);
  for (const client of clients) client.end();
  await until(() => forwarder.descriptors('socket') === 1);
});

test('IPv6 on both sides', async () => {
  const target = await serve((socket) => socket.pipe(socket), 0, '::1');
  const forwarder = await launch({ to: `[::1]:${target.port}`, host: '::1' });
  const client = await connect(forwarder.port, '::1');
  client.end('sechs');
  assert.is(String((await collect(client)).bytes), 'sechs');
});

test.run();
