import { once } from 'node:events';
import type net from 'node:net';
import koffi from 'koffi';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, collect, connect, hear, launch, serve, sleep, until, within } from './forwarder-launch.ts';
import { type SystemCall, trace } from './forwarder-trace.ts';

/* One round of the forwarder's loop: how much it does for one connection, and that nothing is lost with many. */

test.after.each(closeAll);

/** Bytes moved in each round: every byte is spliced into a pipe and out of it. */
function bytesMoved(rounds: SystemCall[][]): number[] {
  return rounds.map(
    (calls) =>
      calls.reduce((sum, { name, result }) => sum + (name === 'splice' ? Math.max(0, result) : 0), 0) / 2,
  );
}

const MB = 1 << 20;

/** What is read at once of a bulk stream while small messages are on their way. */
const SMALL_CHUNK = 1 << 17;

const setsockopt = koffi.load(null).func('int setsockopt(int, int, int, void *, uint)');
const [SOL_SOCKET, SO_RCVBUFFORCE] = [1, 33];

/** Only root may make the buffers larger than net.core.rmem_max, so that megabytes and a FIN can wait in one of them. */
const asRoot = process.geteuid?.() === 0 ? test : test.skip;

asRoot('bytes before a FIN are moved in several rounds when they are many', async () => {
  const size = 12 * MB;
  let received = 0;
  const { port } = await serve((socket) =>
    socket.on('data', (chunk) => {
      received += chunk.length;
    }),
  );
  const room = Buffer.from(Uint32Array.of(32 * MB).buffer);
  const { forwarder, rounds } = await trace(['splice'], {
    to: port,
    prepare: (fd) => assert.is(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, room, 4), 0),
  });
  const client = await connect(forwarder.port);
  client.write('x');
  await until(() => received === 1);
  forwarder.kill('SIGSTOP');
  client.end(Buffer.alloc(size));
  await once(client, 'finish');
  await sleep(100);
  forwarder.kill('SIGCONT');
  await until(() => received === size + 1);
  const moved = () => bytesMoved(rounds());
  await until(() => moved().reduce((sum, count) => sum + count, 0) === size + 1);
  const bytes = moved();
  assert.ok(Math.max(...bytes) <= 3 * MB, `${Math.max(...bytes)} bytes in one round`);
});

test('bulk streams take turns, in small chunks while a small client speaks, in large ones while none does', async () => {
  const { port } = await serve((socket) =>
    socket.once('data', (first) =>
      String(first) === 'ping' ? socket.write('pong') && socket.pipe(socket) : socket.resume(),
    ),
  );
  const { forwarder, rounds } = await trace(['splice'], { to: port });
  const bytes = Buffer.alloc(8 * MB);
  const streams = await Promise.all(Array.from({ length: 3 }, () => connect(forwarder.port)));
  const pump = async (until: () => boolean): Promise<void> => {
    await Promise.all(
      streams.map(async (stream) => {
        while (!until()) if (!stream.write(bytes)) await within(60_000, once(stream, 'drain'));
      }),
    );
  };
  const large = () => bytesMoved(rounds()).some((moved) => moved > 300_000);
  let isAlone = true;
  // However late the forwarder starts: without a small client there are large rounds at last.
  const begun = sleep(1500).then(() => until(large));
  await Promise.all([begun.finally(() => (isAlone = false)), pump(() => !isAlone)]);
  const before = rounds().length;
  const client = await connect(forwarder.port);
  let answers = 0;
  const ask = async (): Promise<void> => {
    for (; answers < 200; answers++) {
      client.write('ping');
      await within(60_000, once(client, 'data'));
    }
  };
  await Promise.all([ask(), pump(() => answers === 200)]);
  const rest = rounds().slice(before);
  const isSmall = rest.map((calls) => calls.some(({ args }) => args.includes(`, ${SMALL_CHUNK},`)));
  const beside = bytesMoved(rest.filter((_, at) => isSmall[at]));
  assert.ok(beside.length > 50, `${beside.length} rounds with small chunks`);
  // Two chunks at most: one held back and one new. Where the machine is so busy that the client pauses, large chunks are right, and each
  // stream may have one of them left when the client speaks again.
  const begins = isSmall.filter((small, at) => small && !isSmall[at - 1]).length;
  const more = beside.filter((moved) => moved > 300_000);
  assert.ok(
    more.length <= streams.length * begins,
    `${more} bytes in rounds beside a small client, which has begun to speak ${begins} times in ${beside.length} rounds`,
  );
});

test('the walk over connections that may pause is cut into turns', async () => {
  const { port } = await serve((socket) => socket.resume());
  const args = ['--idle', '0', '--allow', '127.0.0.1', '--peer-timeout', '2'];
  const { forwarder, rounds } = await trace(['getsockopt'], { to: port, args });
  for (let i = 0; i < 6; i++) await Promise.all(Array.from({ length: 50 }, () => connect(forwarder.port)));
  await until(() => forwarder.descriptors('socket') === 601);
  const looks = () => rounds().map((calls) => calls.filter(({ args }) => args.includes('TCP_INFO')).length);
  const all = () => looks().reduce((sum, count) => sum + count, 0);
  // In that many it has walked over all of them once, wherever it is now.
  const enough = all() + 600;
  await until(() => all() >= enough);
  assert.ok(Math.max(...looks()) <= 128, `${Math.max(...looks())} connections looked at in one round`);
});

test('more than 256 connections that are ready at once are all served, again and again', async () => {
  const { port } = await serve((socket) => socket.pipe(socket));
  const forwarder = await launch({ to: port, args: ['--idle', '0'] });
  const clients: net.Socket[] = [];
  for (let i = 0; i < 12; i++) {
    clients.push(...(await Promise.all(Array.from({ length: 50 }, () => connect(forwarder.port)))));
  }
  await until(() => forwarder.descriptors('socket') === 1201);
  for (let turn = 0; turn < 5; turn++) {
    forwarder.kill('SIGSTOP');
    const answers = clients.map((client) => within(60_000, once(client, 'data')));
    for (const [i, client] of clients.entries()) client.write(`${turn} ${i}`);
    await sleep(100);
    forwarder.kill('SIGCONT');
    for (const [i, [answer]] of (await Promise.all(answers)).entries())
      assert.is(String(answer), `${turn} ${i}`);
  }
  for (const client of clients) client.end();
  await until(() => forwarder.descriptors('socket') === 1);
});

test('600 clients that come at once are all accepted', async () => {
  const { port } = await serve((socket) => socket.end('hello'));
  const forwarder = await launch({ to: port, args: ['--idle', '0'] });
  assert.is(await hear(forwarder.port), 'hello');
  forwarder.kill('SIGSTOP');
  const heard = Array.from({ length: 600 }, () => hear(forwarder.port));
  await sleep(300);
  forwarder.kill('SIGCONT');
  for (const answer of await Promise.all(heard)) assert.is(answer, 'hello');
});

test('several listening sockets lead to the target, and none starves another', async () => {
  const { port } = await serve((socket) => socket.pipe(socket));
  const forwarder = await launch({ to: port, args: ['--idle', '3'], listeners: 3 });
  // As long as it is there, the forwarder is not idle.
  const keeper = await connect(forwarder.port);
  for (const port of forwarder.ports) {
    const client = await connect(port);
    client.end(`by ${port}`);
    assert.is(String((await collect(client)).bytes), `by ${port}`);
  }
  forwarder.kill('SIGSTOP');
  const [busy, ...quiet] = forwarder.ports as [number, ...number[]];
  const crowd = await Promise.all(Array.from({ length: 200 }, () => connect(busy)));
  const others = await Promise.all(quiet.map((port) => connect(port)));
  for (const client of [...crowd, ...others]) client.end('hello');
  forwarder.kill('SIGCONT');
  for (const client of [...others, ...crowd]) assert.is(String((await collect(client)).bytes), 'hello');
  keeper.destroy();
  // All of them are what systemd passed, so none is closed before the process ends.
  assert.is(await within(60_000, forwarder.exited), 0);
});

test('with several listening sockets the limit on clients holds for all together', async () => {
  const { port } = await serve((socket) => socket.pipe(socket));
  const forwarder = await launch({ to: port, args: ['--idle', '0', '--max-connections', '2'], listeners: 2 });
  const [first, second] = forwarder.ports as [number, number];
  const inside = [await connect(first), await connect(second)];
  for (const client of inside) {
    client.write('in');
    assert.is(String((await once(client, 'data'))[0]), 'in');
  }
  const waiting = await connect(second);
  waiting.write('me too');
  await until(() => forwarder.log() !== '');
  assert.match(forwarder.log(), /2 clients are connected/);
  inside[0]?.end();
  assert.is(String((await within(60_000, once(waiting, 'data')))[0]), 'me too');
});

test.run();
