import dgram from 'node:dgram';
import { once } from 'node:events';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { programs } from '../programs.ts';
import {
  bind,
  closeAll,
  closedUdpPort,
  type Forwarder,
  launch,
  sleep,
  until,
  within,
} from './forwarder-launch.ts';

/* Sessions of datagrams go on although the forwarder is killed many times, mostly at a certain system call. */

const open = new Set<dgram.Socket>();

test.after.each(async () => {
  for (const socket of open) socket.close();
  open.clear();
  await closeAll();
});

/** How long after the first session all that begin with the forwarder are certainly stored, ms. */
const STORED_MS = 3000;

/** Sessions that pass datagrams when they are as old as this are stored, ms. */
const LASTING_MS = 500;

/** The system calls of a relay of datagrams at which it is killed. */
const CALLS = 'recvmmsg sendmmsg epoll_wait epoll_ctl connect sendmsg close getsockopt';

/** Starts a forwarder that is killed so many times, first `age` ms after it has stored something. */
function launchKilled(
  to: number,
  kills: number,
  options: { age?: number; args?: string[] } = {},
): Promise<Forwarder> {
  return launch({
    to,
    listeners: 0,
    datagrams: 1,
    args: ['--idle', '0', '--dial-timeout', '300', ...(options.args ?? [])],
    command: [process.execPath, '--import', 'tsx', new URL('service-manager.ts', import.meta.url).pathname],
    env: {
      KILLS: String(kills),
      SEED: String(Date.now() % 100_000),
      AGE: String(options.age ?? 0),
      BEGIN: 'FDSTORE',
      PROGRAM: programs.forwarder,
      CALLS,
    },
  });
}

/** Whether a forwarder has been killed as often as it is to be. */
function leftAlone(forwarder: Forwarder): boolean {
  return forwarder.log().includes('now left alone');
}

async function client(port: number): Promise<dgram.Socket> {
  const socket = await bind('127.0.0.1');
  open.add(socket);
  socket.on('error', () => {});
  socket.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

/** The next datagram that a socket receives, and where it is from. */
function next(socket: dgram.Socket): Promise<[Buffer, dgram.RemoteInfo]> {
  return within(60_000, once(socket, 'message') as Promise<[Buffer, dgram.RemoteInfo]>);
}

async function server(port = 0): Promise<dgram.Socket> {
  const socket = await bind('127.0.0.1', port);
  open.add(socket);
  socket.on('error', () => {});
  return socket;
}

/** Whether a port of UDP is free. */
async function isFree(port: number): Promise<boolean> {
  const socket = dgram.createSocket('udp4');
  try {
    socket.bind(port, '127.0.0.1');
    await once(socket, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    socket.close();
  }
}

/** How many descriptors are in the store of a forwarder, which ends. */
async function leftInStore(forwarder: Forwarder): Promise<number> {
  forwarder.kill('SIGTERM');
  assert.is(await forwarder.exited, 0, forwarder.log());
  return Number(/, (\d+) descriptors in the store/.exec(forwarder.log())?.[1]);
}

test('60 clients keep their ports at the server through 20 kills, which cost no more than is in the process at that moment', async () => {
  const clients = 60;
  const kills = 20;
  const target = await server();
  const ports = Array.from({ length: clients }, () => new Set<number>());
  const requests = Array.from({ length: clients }, () => [] as number[]);
  target.on('message', (message, from) => {
    const [n = 0, i = 0] = String(message).split(' ').map(Number);
    ports[n]?.add(from.port);
    requests[n]?.push(i);
    target.send(message, from.port, from.address);
  });
  const forwarder = await launchKilled(target.address().port, kills, { age: STORED_MS });
  const answers = Array.from({ length: clients }, () => [] as number[]);
  const sent = new Array<number>(clients).fill(0);
  const sockets = await Promise.all(ports.map(() => client(forwarder.port)));
  // Each sends the next datagram when the last one has been answered, or is certainly lost. So no buffer overflows.
  let isOver = false;
  const converse = (n: number): void => {
    if (isOver) return;
    sockets[n]?.send(`${n} ${sent[n]}`);
    sent[n] = (sent[n] as number) + 1;
    later[n] = setTimeout(() => converse(n), 3000);
  };
  const later: NodeJS.Timeout[] = [];
  for (const [n, socket] of sockets.entries()) {
    socket.on('message', (message) => {
      const [name, i = 0] = String(message).split(' ').map(Number);
      assert.is(name, n, 'the client that an answer is for');
      answers[n]?.push(i);
      clearTimeout(later[n]);
      later[n] = setTimeout(() => converse(n), 50);
    });
    converse(n);
  }
  // Some of the kills come before it has said that it took the sessions over.
  const takeovers = () => forwarder.log().match(/took over 60 open sessions/g)?.length ?? 0;
  await until(() => leftAlone(forwarder) && takeovers() >= 5, 300_000)
    .catch((error) => assert.unreachable(`${error.message}: ${forwarder.log()}`))
    .finally(() => {
      isOver = true;
    });
  await sleep(3500);
  assert.equal(
    ports.map(({ size }) => size),
    ports.map(() => 1),
    forwarder.log(),
  );
  const total = sent.reduce((sum, count) => sum + count, 0);
  for (const heard of [...requests, ...answers])
    assert.ok(
      heard.every((i, at) => at === 0 || i > (heard[at - 1] as number)),
      'twice, or in another order',
    );
  const count = (lists: number[][]): number => lists.reduce((sum, { length }) => sum + length, 0);
  const lost = total - count(answers);
  // Each client has one datagram under way, so a kill costs as many as there are clients at most. Only where it meets the process between
  // receiving and sending it does so; if what waits in the sockets were lost, nearly each would.
  const most = (clients * kills) / 2;
  assert.ok(
    lost <= most,
    `${lost} of ${total} are lost, ${total - count(requests)} of them on the way there`,
  );
  process.stdout.write(`${lost} of ${total} exchanges lost in ${kills} kills `);
  assert.not.match(forwarder.log(), /cannot|died/);
});

test('an answer that comes late finds its client, whose forwarder has been killed meanwhile', async () => {
  const target = await server();
  const forwarder = await launchKilled(target.address().port, 3);
  const one = await client(forwarder.port);
  one.send('question');
  const [, from] = await next(target);
  await until(() => /took over 1 open session/.test(forwarder.log()));
  target.send('answer', from.port, from.address);
  const [answer] = await next(one);
  assert.is(String(answer), 'answer');
});

test('the first datagram waits for a target that starts late, although the forwarder is killed', async () => {
  const port = await closedUdpPort();
  const forwarder = await launchKilled(port, 6);
  const one = await client(forwarder.port);
  one.send('hello');
  await until(() => leftAlone(forwarder), 300_000);
  assert.match(forwarder.log(), /took over 1 open session/);
  const target = await server(port);
  const [message, from] = await next(target);
  assert.is(String(message), 'hello');
  target.send('welcome', from.port, from.address);
  assert.is(String((await next(one))[0]), 'welcome');
});

test('short exchanges are not stored, and what is stored leaves the store when its session ends', async () => {
  const target = await server();
  target.on('message', (message, from) => target.send(message, from.port, from.address));
  /** Fifty exchanges of a forwarder; undefined if they have not been short. */
  const exchangeShortly = async (): Promise<Forwarder | undefined> => {
    const forwarder = await launchKilled(target.address().port, 0, { args: ['--udp-timeout', '4'] });
    const clients = await Promise.all(Array.from({ length: 50 }, () => client(forwarder.port)));
    await until(() => leftAlone(forwarder));
    const began = performance.now();
    const answers = clients.map(next);
    for (const one of clients) one.send('question');
    await Promise.all(answers);
    return performance.now() - began < LASTING_MS ? forwarder : undefined;
  };
  let short: Forwarder | undefined;
  for (let attempt = 0; attempt < 20 && short === undefined; attempt++) short = await exchangeShortly();
  assert.ok(short, 'no exchange has been short');
  await sleep(2500);
  const other = await launchKilled(target.address().port, 0, { args: ['--udp-timeout', '3'] });
  const lasting = await client(other.port);
  for (let i = 0; i < 10; i++) {
    lasting.send('question');
    await next(lasting);
    await sleep(150);
  }
  assert.is(await leftInStore(short), 0);
  assert.match(short.log(), /^0 descriptors were stored$/m);
  assert.is(await leftInStore(other), 0);
  assert.not.match(other.log(), /^0 descriptors were stored$/m);
});

test('a session goes on being counted, ends when it has been quiet, and its port is free then', async () => {
  const target = await server();
  const senders: number[] = [];
  target.on('message', (message, from) => {
    senders.push(from.port);
    target.send(message, from.port, from.address);
  });
  // Quiet is also what it seems to be while the forwarder is started again.
  const forwarder = await launchKilled(target.address().port, 1, { args: ['--udp-timeout', '6'] });
  const one = await client(forwarder.port);
  const talk = setInterval(() => one.send('question'), 100);
  await until(() => /took over 1 open session/.test(forwarder.log()));
  await sleep(500);
  clearInterval(talk);
  await sleep(200);
  const port = senders.at(-1) as number;
  assert.is(new Set(senders).size, 1);
  const quietSince = performance.now();
  while (!(await isFree(port))) await sleep(100);
  assert.ok(performance.now() - quietSince < 60_000);
  assert.is(await leftInStore(forwarder), 0);
});

test.run();
