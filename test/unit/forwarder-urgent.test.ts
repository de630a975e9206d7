import { once } from 'node:events';
import type net from 'node:net';
import koffi from 'koffi';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  closeAll,
  collect,
  connect,
  descriptorOf,
  freePort,
  launch,
  load,
  serve,
  sleep,
  until,
  wasReset,
  within,
} from './forwarder-launch.ts';

/*
 * Urgent data arrives in its place in the stream, whichever side sends it. Node cannot send it (MSG_OOB), and its sockets
 * receive it in line only if SO_OOBINLINE is set.
 */

test.after.each(closeAll);

const libc = koffi.load(null);
const sendCall = libc.func('int64_t send(int, void *, size_t, int)');
const setsockopt = libc.func('int setsockopt(int, int, int, void *, uint)');
const [MSG_OOB, SOL_SOCKET, SO_OOBINLINE] = [1, 1, 10];

/** Sends one urgent byte as soon as the kernel has room for it. */
function sendUrgentByte(socket: net.Socket, byte: string): Promise<void> {
  return until(() => sendCall(descriptorOf(socket), Buffer.from(byte), 1, MSG_OOB) === 1);
}

/** Sends `text` at once, its last byte as urgent data. */
function sendUrgent(socket: net.Socket, text: string): void {
  const bytes = Buffer.from(text);
  assert.is(sendCall(descriptorOf(socket), bytes, bytes.length, MSG_OOB), bytes.length);
}

function receiveInLine(socket: net.Socket): net.Socket {
  setsockopt(descriptorOf(socket), SOL_SOCKET, SO_OOBINLINE, Buffer.from([1, 0, 0, 0]), 4);
  return socket;
}

/** A client and the target's socket of the same connection; what each receives is in line. */
async function pair(): Promise<{
  forwarder: Awaited<ReturnType<typeof launch>>;
  client: net.Socket;
  target: net.Socket;
}> {
  let accepted: (socket: net.Socket) => void;
  const first = new Promise<net.Socket>((resolve) => {
    accepted = resolve;
  });
  const { port } = await serve((socket) => accepted(receiveInLine(socket)));
  const forwarder = await launch({ to: port });
  const client = receiveInLine(await connect(forwarder.port));
  const target = await within(60_000, first);
  // So that it is the target that accepted first, and no dial is under way.
  client.write('hello');
  await once(target, 'data');
  return { forwarder, client, target };
}

const block = 'x'.repeat(3000);

for (const direction of ['client to target', 'target to client'] as const) {
  const ends = async () => {
    const { forwarder, client, target } = await pair();
    const [sender, receiver] = direction === 'client to target' ? [client, target] : [target, client];
    return { forwarder, sender, receiver, received: collect(receiver) };
  };

  test(`an urgent byte in the middle of a stream, ${direction}: every byte arrives, without a spin`, async () => {
    const { forwarder, sender, received } = await ends();
    sender.write(block);
    await sleep(50);
    sendUrgent(sender, '!');
    await sleep(50);
    sender.write(block);
    assert.ok((await load(forwarder)) < 0.3);
    sender.end('.');
    const { bytes, how } = await received;
    assert.is(String(bytes), `${block}!${block}.`);
    assert.is(how, 'end');
  });

  test(`an urgent byte right before the end, ${direction}, arrives`, async () => {
    const { sender, received } = await ends();
    sendUrgent(sender, `${block}!`);
    sender.end();
    const { bytes, how } = await received;
    assert.is(String(bytes), `${block}!`);
    assert.is(how, 'end');
  });

  test(`many urgent bytes in a row, ${direction}, all arrive`, async () => {
    const { sender, received } = await ends();
    for (let i = 0; i < 500; i++) {
      sendUrgent(sender, `${i};`);
      if (i % 50 === 0) await sleep(1);
    }
    sender.end();
    const { bytes } = await received;
    assert.is(String(bytes), Array.from({ length: 500 }, (_, i) => `${i};`).join(''));
  });

  test(`an urgent byte while the receiver is held up, ${direction}: no spin, and every byte arrives`, async () => {
    const { forwarder, client, target } = await pair();
    const [sender, receiver] = direction === 'client to target' ? [client, target] : [target, client];
    receiver.pause();
    const large = Buffer.alloc(24 << 20, 'abcdefg');
    sender.write(large.subarray(0, large.length / 2));
    await sleep(300);
    const sent = new Promise((resolve) => sender.write(large.subarray(large.length / 2), resolve));
    receiver.once('resume', () => sent.then(() => sendUrgentByte(sender, '!')).then(() => sender.end('.')));
    assert.ok((await load(forwarder)) < 0.3);
    const { bytes, how } = await collect(receiver);
    assert.is(bytes.length, large.length + 2);
    assert.is(String(bytes.subarray(-3)), `${String(large.subarray(-1))}!.`);
    assert.is(how, 'end');
  });

  test(`bytes behind an urgent byte and before a reset, ${direction}: what arrives is in order, then the reset`, async () => {
    const { forwarder, sender, receiver, received } = await ends();
    const at = receiver.bytesRead;
    sendUrgent(sender, `${block}!`);
    sender.write(block);
    await until(() => receiver.bytesRead === at + 2 * block.length + 1);
    sender.resetAndDestroy();
    const { bytes, how } = await received;
    assert.is(String(bytes), `${block}!${block}`);
    assert.ok(await wasReset(receiver, how));
    await until(() => forwarder.descriptors('socket') === 1);
  });
}

test('an urgent byte, silence and a reset: the byte and the reset arrive', async () => {
  const { forwarder, client, target } = await pair();
  const received = collect(target);
  for (let i = 0; i < 3; i++) sendUrgent(client, '!');
  client.resetAndDestroy();
  const { bytes, how } = await received;
  assert.match(String(bytes), /^!{0,3}$/);
  assert.ok(await wasReset(target, how));
  await until(() => forwarder.descriptors('socket') === 1);
});

test('an urgent byte of the client that has started the forwarder arrives in its place', async () => {
  let received: ReturnType<typeof collect> | undefined;
  const { port } = await serve((socket) => {
    received = collect(socket);
  });
  // The client is in the backlog, and its urgent byte has arrived, before the listening socket has any option.
  const forwarder = await launch({ to: port, before: 'sleep 0.5' });
  const client = await connect(forwarder.port);
  sendUrgent(client, 'ab!');
  client.end('cd');
  await until(() => received !== undefined);
  assert.is(String((await received)?.bytes), 'ab!cd');
});

test('an urgent byte to a target that is still starting waits for it in its place', async () => {
  const port = freePort();
  const forwarder = await launch({ to: port, args: ['--dial-timeout', '60'] });
  const client = await connect(forwarder.port);
  sendUrgent(client, 'ab!');
  client.write('cd');
  assert.ok((await load(forwarder)) < 0.3);
  client.end('e');
  let received: ReturnType<typeof collect> | undefined;
  await serve((socket) => {
    received = collect(socket);
  }, port);
  await until(() => received !== undefined);
  assert.is(String((await received)?.bytes), 'ab!cde');
});

test.run();
