import { readFileSync } from 'node:fs';
import type net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  closeAll,
  collect,
  connect,
  launch,
  serve,
  spentDuring,
  undisturbed,
  until,
  wasReset,
} from './forwarder-launch.ts';

test.after.each(closeAll);

const echo = async () => (await serve((socket) => socket.pipe(socket))).port;

/** For each established connection whose local or remote port is this one, whether its keepalive timer runs (proc_net_tcp). */
function keepaliveTimers(side: 'local' | 'remote', port: number): boolean[] {
  const [, ...rows] = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n');
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, local, remote, state]) => {
      const end = side === 'local' ? local : remote;
      return state === '01' && Number.parseInt(end?.split(':')[1] ?? '', 16) === port;
    })
    .map((row) => row[5]?.startsWith('02:') === true);
}

/** Whether the target answers to this client. */
async function isServed(client: net.Socket): Promise<boolean> {
  if (client.destroyed) return false;
  return new Promise((resolve) => {
    const settle = (answered: boolean) => {
      client.off('data', onData).off('close', onClose);
      resolve(answered);
    };
    const onData = () => settle(true);
    const onClose = () => settle(false);
    client.on('data', onData).on('close', onClose);
    client.write('x');
  });
}

/** Whether a new client is served. */
async function isNewServed(port: number, host = '127.0.0.1', localAddress?: string): Promise<boolean> {
  return isServed(await connect(port, host, localAddress === undefined ? {} : { localAddress }));
}

test('clients beyond --max-connections wait for 5 s and are refused; those inside are served as before', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0', '--max-connections', '2'] });
  const inside = [await connect(forwarder.port), await connect(forwarder.port)];
  for (const client of inside) assert.ok(await isServed(client));
  const began = performance.now();
  const waiting = await Promise.all(Array.from({ length: 100 }, () => connect(forwarder.port)));
  const ended = Promise.all(waiting.map(collect));
  waiting[0]?.write('a request');
  // The clients wait for 5 s, and a loop that spins does so for as long.
  const spent = await spentDuring(forwarder, () => sleep(3500));
  assert.ok(spent < 1, `${spent} s of CPU time`);
  const late = await connect(forwarder.port);
  const ends = await ended;
  const waited = performance.now() - began;
  assert.equal(new Set(ends.map(({ how }) => how)), new Set(['ECONNRESET']));
  assert.ok(waited >= 4900, `refused after ${waited} ms`);
  // Another has not waited as long, and gets the first place that is free.
  assert.not(late.destroyed);
  for (const client of inside) assert.ok(await isServed(client));
  inside[0]?.end();
  assert.ok(await isServed(late));
  const lines = () =>
    forwarder
      .log()
      .trim()
      .split('\n')
      .filter((line) => !line.includes('in the last 10 s'));
  await until(() => lines().length >= 2);
  assert.match(
    lines()[0] ?? '',
    /2 clients are connected, .*--max-connections.*; more of them wait, and are refused after 5 s/,
  );
  assert.match(lines()[1] ?? '', /refused 127\.0\.0\.1:\d+: it has waited for 5 s/);
  // After 10 s without another such client, it is told again.
  if (performance.now() - began < 9000) assert.is(lines().length, 2);
});

test('a place that is free in time goes to the client that has waited longest', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0', '--max-connections', '1'] });
  const inside = await connect(forwarder.port);
  assert.ok(await isServed(inside));
  const order: number[] = [];
  const waiting: net.Socket[] = [];
  for (let index = 0; index < 3; index++) {
    const client = await connect(forwarder.port);
    client.write('x');
    client.once('data', () => {
      order.push(index);
      client.end();
    });
    waiting.push(client);
  }
  await sleep(300);
  inside.end();
  await until(() => order.length === 3);
  assert.equal(order, [0, 1, 2]);
});

test('clients that arrive while nothing is free for longer than any may wait are refused in turn, without spinning', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0', '--max-connections', '1'] });
  const inside = await connect(forwarder.port);
  assert.ok(await isServed(inside));
  const waits: number[] = [];
  const clients: Promise<void>[] = [];
  const spent = await spentDuring(forwarder, async () => {
    for (let i = 0; i < 20; i++) {
      const began = performance.now();
      const client = await connect(forwarder.port);
      clients.push(
        collect(client).then(({ how }) => {
          assert.is(how, 'ECONNRESET');
          waits.push(performance.now() - began);
        }),
      );
      await sleep(200);
    }
    await Promise.all(clients);
  });
  assert.is(waits.length, 20);
  assert.ok(Math.min(...waits) >= 4900, `${Math.min(...waits)} ms`);
  // All this takes nine seconds.
  assert.ok(spent < 2, `${spent} s of CPU time`);
  assert.ok(await isServed(inside));
});

test('--max-per-source: one address has so many connections, another one is served', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0', '--max-per-source', '2'] });
  const inside = [await connect(forwarder.port), await connect(forwarder.port)];
  for (const client of inside) assert.ok(await isServed(client));
  assert.not(await isNewServed(forwarder.port));
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /refused 127\.0\.0\.1:\d+: 2 connections of its address are open, as many as --max-per-source allows/,
  );
  assert.ok(await isNewServed(forwarder.port, '127.0.0.1', '127.0.0.2'));
  inside[0]?.end();
  await collect(inside[0] as net.Socket);
  // The forwarder learns of the end a moment later.
  while (!(await isNewServed(forwarder.port))) await sleep(10);
  assert.not(await isNewServed(forwarder.port));
});

test('--max-per-source on a listener of both families counts IPv4 clients by their address', async () => {
  const forwarder = await launch({
    to: await echo(),
    host: '::',
    args: ['--idle', '0', '--max-per-source', '1'],
  });
  assert.ok(await isNewServed(forwarder.port));
  assert.not(await isNewServed(forwarder.port));
  assert.ok(await isNewServed(forwarder.port, '127.0.0.1', '127.0.0.2'));
  assert.ok(await isNewServed(forwarder.port, '::1'));
  assert.not(await isNewServed(forwarder.port, '::1'));
});

test('--rate: a second brings so many clients; the others wait and are all served', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0', '--rate', '20'] });
  const began = performance.now();
  const clients = await Promise.all(Array.from({ length: 60 }, () => connect(forwarder.port)));
  const served = Promise.all(clients.map(isServed));
  await until(() =>
    /more than 20 clients a second arrive \(--rate\); more of them wait/.test(forwarder.log()),
  );
  const spent = await spentDuring(forwarder, () => served);
  assert.equal(await served, Array(60).fill(true));
  const took = performance.now() - began;
  assert.ok(took >= 1900, `60 clients in ${took} ms`);
  assert.ok(spent < 1, `${spent} s of CPU time`);
});

test('--idle-timeout resets sessions on which no byte moves, and no others', () =>
  undisturbed(2000, async () => {
    const forwarder = await launch({ to: await echo(), args: ['--idle', '0', '--idle-timeout', '4'] });
    const silent = await connect(forwarder.port);
    const talking = await connect(forwarder.port);
    // Before its last byte moves, however late this process hears of that.
    const began = performance.now();
    assert.ok(await isServed(silent));
    const end = collect(silent);
    let isOver = false;
    end.then(() => {
      isOver = true;
    });
    while (!isOver) {
      assert.ok(await isServed(talking));
      await sleep(100);
    }
    assert.is((await end).how, 'ECONNRESET');
    assert.ok(performance.now() - began >= 3900);
    assert.ok(await isServed(talking));
    await until(() => forwarder.log() !== '');
    assert.match(forwarder.log(), /reset 1 session on which no byte moved for 4 s \(--idle-timeout\)/);
  }));

test('--idle-timeout resets a session whose client does not read, and both sides learn of it', async () => {
  let target: net.Socket | undefined;
  const { port } = await serve((socket) => {
    target = socket;
    socket.write(Buffer.alloc(50_000_000));
  });
  const forwarder = await launch({ to: port, args: ['--idle', '0', '--idle-timeout', '2'] });
  const client = await connect(forwarder.port);
  client.pause();
  await until(() => target?.destroyed === true);
  assert.is((await collect(target as net.Socket)).how, 'ECONNRESET');
  const { bytes, how } = await collect(client);
  assert.ok(bytes.length < 50_000_000, 'all has arrived');
  assert.ok(await wasReset(client, how), `the client saw "${how}"`);
});

test('--keepalive probes both sides', async () => {
  const port = await echo();
  for (const [args, probed] of [
    [['--keepalive', '30'], true],
    [[], false],
  ] as const) {
    const forwarder = await launch({ to: port, args: ['--idle', '0', ...args] });
    const client = await connect(forwarder.port);
    assert.ok(await isServed(client));
    assert.equal(keepaliveTimers('local', forwarder.port), [probed]);
    assert.equal(keepaliveTimers('remote', port), [probed]);
    client.end();
    await collect(client);
  }
});

test.run();
