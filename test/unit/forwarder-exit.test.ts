import type net from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, collect, connect, freePort, launch, serve, until, wasReset } from './forwarder-launch.ts';

/* A session that is cut off is reset on both sides. A FIN would tell the peers that they have received everything. */

test.after.each(closeAll);

const MB = 1 << 20;

for (const [signal, status, log] of [
  ['SIGTERM', 0, '<6>link test: stopped by SIGTERM; reset 1 open session\n'],
  ['SIGINT', 0, '<6>link test: stopped by SIGINT; reset 1 open session\n'],
  // These end the process without a chance to do anything: the first by the kernel without memory, the second by the
  // watchdog of systemd.
  ['SIGKILL', 'SIGKILL', ''],
  ['SIGABRT', 'SIGABRT', ''],
] as const) {
  test(`${signal} in the middle of an answer resets both sides`, async () => {
    let target: net.Socket | undefined;
    const { port } = await serve((socket) => {
      target = socket;
      socket.write(Buffer.alloc(40 * MB, 'answer'));
    });
    const forwarder = await launch({ to: port });
    const client = await connect(forwarder.port);
    let received = 0;
    const count = (chunk: Buffer): void => {
      received += chunk.length;
    };
    client.on('data', count);
    await until(() => received > 4 * MB);
    client.off('data', count).pause();
    const atTarget = collect(target as net.Socket);
    forwarder.kill(signal);
    assert.is(await forwarder.exited, status);
    const { bytes, how } = await collect(client);
    assert.ok(received + bytes.length < 40 * MB);
    assert.ok(await wasReset(client, how), `the client saw "${how}"`);
    assert.ok(await wasReset(target as net.Socket, (await atTarget).how));
    assert.is(forwarder.log(), log);
  });

  test(`${signal} in the middle of an upload resets both sides`, async () => {
    let received = 0;
    let target: net.Socket | undefined;
    const { port } = await serve((socket) => {
      target = socket;
      socket.on('data', (chunk) => {
        received += chunk.length;
        if (received > 4 * MB) socket.removeAllListeners('data').pause();
      });
    });
    const forwarder = await launch({ to: port });
    const client = await connect(forwarder.port);
    client.write(Buffer.alloc(40 * MB, 'question'));
    await until(() => received > 4 * MB);
    const atClient = collect(client);
    forwarder.kill(signal);
    assert.is(await forwarder.exited, status);
    const { bytes, how } = await collect(target as net.Socket);
    assert.ok(received + bytes.length < 40 * MB);
    assert.ok(await wasReset(target as net.Socket, how), `the target saw "${how}"`);
    assert.ok(await wasReset(client, (await atClient).how));
  });
}

test('SIGTERM resets idle sessions, half-closed ones and those that wait for a target', async () => {
  let accepted = 0;
  const { port, server } = await serve((socket) => {
    accepted++;
    socket.resume();
  });
  const forwarder = await launch({ to: port, args: ['--dial-timeout', '60'] });
  const clients = await Promise.all(Array.from({ length: 3 }, () => connect(forwarder.port)));
  const [idle, halfClosed] = clients as [net.Socket, net.Socket];
  for (const client of [idle, halfClosed]) client.write('hello');
  halfClosed.end();
  // A server that closes resets the connections that it has not accepted yet.
  await until(() => accepted === 3);
  server.close();
  const waiting = await connect(forwarder.port);
  const ends = [...clients, waiting].map((client) => collect(client));
  await until(() => forwarder.descriptors('socket') === 8);
  forwarder.kill('SIGTERM');
  for (const { how } of await Promise.all(ends)) assert.is(how, 'ECONNRESET');
  assert.is(await forwarder.exited, 0);
});

test('a session that has ended by itself before SIGTERM ends cleanly', async () => {
  const answer = Buffer.alloc(300_000, 'answer');
  let served = 0;
  const { port } = await serve((socket) => {
    served++;
    socket.resume().end(answer);
  });
  const forwarder = await launch({ to: port });
  const client = await connect(forwarder.port);
  client.pause().end('question');
  await until(() => served === 1 && forwarder.descriptors('socket') === 1);
  forwarder.kill('SIGTERM');
  await forwarder.exited;
  const { bytes, how } = await collect(client);
  assert.ok(bytes.equals(answer));
  assert.is(how, 'end');
  assert.is(forwarder.log(), '');
});

test('a target that nobody has started yet: SIGTERM resets the client', async () => {
  const forwarder = await launch({ to: freePort(), args: ['--dial-timeout', '60'] });
  const client = await connect(forwarder.port);
  client.end('hello');
  await until(() => forwarder.descriptors('socket') > 1);
  forwarder.kill('SIGTERM');
  assert.ok(await wasReset(client, (await collect(client)).how));
});

test.run();
