import { once } from 'node:events';
import type net from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ioctl, pinned, SIOCOUTQ } from '../../src/forwarder/syscalls.ts';
import {
  closeAll,
  collect,
  connect,
  descriptorOf,
  launch,
  load,
  serve,
  sleep,
  until,
  wasReset,
  within,
} from './forwarder-launch.ts';

test.after.each(closeAll);

/** A forwarder, a client and the target's socket of the same connection. */
async function pair(): Promise<{
  forwarder: Awaited<ReturnType<typeof launch>>;
  client: net.Socket;
  target: net.Socket;
}> {
  let accepted: (socket: net.Socket) => void;
  const first = new Promise<net.Socket>((resolve) => {
    accepted = resolve;
  });
  const { port } = await serve((socket) => accepted(socket));
  const forwarder = await launch({ to: port });
  const client = await connect(forwarder.port);
  return { forwarder, client, target: await within(60_000, first) };
}

const outgoing = pinned(4);

/** How many bytes of a socket the other side has not acknowledged. */
function unsent(socket: net.Socket): number {
  assert.is(ioctl(descriptorOf(socket), SIOCOUTQ, outgoing.address), 0);
  return outgoing.words[0] as number;
}

/** `size` bytes of which no two neighbouring pages are alike. */
function pattern(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at + 4 <= size; at += 4) bytes.writeUInt32LE(at, at);
  return bytes;
}

test("the target's reset reaches the client", async () => {
  const { forwarder, client, target } = await pair();
  target.resetAndDestroy();
  assert.ok(await wasReset(client, (await collect(client)).how));
  await until(() => forwarder.descriptors('socket') === 1);
});

test("the client's reset reaches the target", async () => {
  const { forwarder, client, target } = await pair();
  client.resetAndDestroy();
  assert.ok(await wasReset(target, (await collect(target)).how));
  await until(() => forwarder.descriptors('socket') === 1);
});

test('a reset after a FIN reaches the other side', async () => {
  const { forwarder, client, target } = await pair();
  client.end('last words');
  assert.is(String((await collect(target)).bytes), 'last words');
  client.resetAndDestroy();
  await until(() => forwarder.descriptors('socket') === 1);
  assert.ok(await wasReset(target, 'end'));
});

test('an answer before a reset arrives in full, every time', async () => {
  const answer = pattern(20_000);
  const { port } = await serve((socket) => {
    socket.once('data', () => {
      socket.write(answer);
      socket.resetAndDestroy();
    });
  });
  const forwarder = await launch({ to: port });
  for (let i = 0; i < 100; i++) {
    const client = await connect(forwarder.port);
    client.write(pattern(i % 2 === 0 ? 10 : 100_000));
    const { bytes, how } = await collect(client);
    assert.ok(bytes.equals(answer), `${bytes.length} bytes of ${answer.length} in round ${i}`);
    assert.ok(await wasReset(client, how));
  }
});

test('an answer before a close with unread bytes arrives in full, every time', async () => {
  const answer = pattern(20_000);
  const { port } = await serve((socket) => {
    // Never reads: close(2) sends RST then (RFC 2525, 2.17).
    socket.pause();
    setTimeout(() => socket.write(answer, () => socket.destroy()), 2);
  });
  const forwarder = await launch({ to: port });
  for (let i = 0; i < 50; i++) {
    const client = await connect(forwarder.port);
    client.write(pattern(300_000));
    const { bytes } = await collect(client);
    assert.ok(bytes.equals(answer), `${bytes.length} bytes of ${answer.length} in round ${i}`);
  }
});

test('a reset waits until a slow reader has every byte before it, without a spin', async () => {
  const { forwarder, client, target } = await pair();
  client.pause();
  const sent = pattern(1 << 20);
  // Small enough for the buffers on the way to the client, too large for the client's own.
  let at = 0;
  for (; at < sent.length; at += 64_000) {
    if (!target.write(sent.subarray(at, at + 64_000))) await once(target, 'drain');
  }
  // A reset drops what this machine has not sent.
  await until(() => target.writableLength === 0 && unsent(target) === 0);
  target.resetAndDestroy();
  await sleep(100);
  assert.ok((await load(forwarder)) < 0.3);
  const { bytes, how } = await collect(client);
  assert.is(bytes.length, sent.length);
  assert.ok(bytes.equals(sent));
  assert.ok(await wasReset(client, how));
  await until(() => forwarder.descriptors('socket') === 1);
});

test('a reset behind much that is held up: no spin, and what had come arrives in order', async () => {
  const { forwarder, client, target } = await pair();
  client.pause();
  const sent = pattern(32 << 20);
  target.write(sent);
  // However late the forwarder moves the first bytes.
  await until(() => client.readableLength > 0);
  await sleep(300);
  const there = client.readableLength;
  target.resetAndDestroy();
  await sleep(100);
  assert.ok((await load(forwarder)) < 0.3);
  const { bytes, how } = await collect(client);
  assert.ok(bytes.length > there);
  assert.ok(bytes.equals(sent.subarray(0, bytes.length)));
  assert.ok(await wasReset(client, how));
  await until(() => forwarder.descriptors('socket') === 1);
});

test('a client that resets while the target is held up is forgotten, its bytes with it', async () => {
  const { forwarder, client, target } = await pair();
  target.pause();
  client.write(pattern(32 << 20));
  await until(() => target.readableLength > 0);
  await sleep(300);
  client.resetAndDestroy();
  await sleep(100);
  assert.ok((await load(forwarder)) < 0.3);
  assert.ok(await wasReset(target, (await collect(target)).how));
  await until(() => forwarder.descriptors('socket') === 1);
});

test('both sides reset at once', async () => {
  const { forwarder, client, target } = await pair();
  client.resetAndDestroy();
  target.resetAndDestroy();
  await until(() => forwarder.descriptors('socket') === 1);
  assert.is(forwarder.log(), '');
});

test('1,000 connections on which both sides do anything at any time leave nothing behind', async () => {
  const bytes = pattern(3 << 20);
  const below = (limit: number): number => Math.floor(Math.random() * limit);
  let open = 0;
  const anything = (socket: net.Socket): void => {
    open++;
    socket.once('close', () => open--);
    const act = (): void => {
      if (socket.destroyed) return;
      const what = below(30);
      if (what < 13 && !socket.writableEnded)
        socket.write(bytes.subarray(0, below(what < 3 ? 3 << 20 : 3000)));
      else if (what < 16) socket.pause();
      else if (what < 19) socket.resume();
      else if (what < 22) socket.end();
      // While a socket shuts down, Node does not close it by resetAndDestroy(), now or later (uv_tcp_close_reset()).
      else if (what === 22 && !socket.writableEnded) socket.resetAndDestroy();
      else if (what === 23) socket.destroy();
      setTimeout(act, below(20));
    };
    socket.resume();
    act();
    setTimeout(() => socket.destroy(), 1000 + below(500));
  };
  const { port } = await serve(anything);
  const forwarder = await launch({ to: port, args: ['--idle', '0'] });
  for (let i = 0; i < 25; i++) {
    const clients = await Promise.allSettled(Array.from({ length: 40 }, () => connect(forwarder.port)));
    // The target may reset a connection before Node tells of it.
    for (const client of clients) if (client.status === 'fulfilled') anything(client.value);
    await sleep(50);
    // Where the machine is busy they would become ever more, and with them what waits in memory to be written.
    while (open > 200) await sleep(10);
  }
  await until(() => forwarder.descriptors('socket') === 1);
  assert.ok((await load(forwarder)) < 0.3);
  assert.is(forwarder.log(), '');
});

test.run();
