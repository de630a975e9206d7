import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { programs } from '../programs.ts';
import {
  closeAll,
  collect,
  descriptorOf,
  type Forwarder,
  run,
  serve,
  sleep,
  until,
} from './forwarder-launch.ts';
import { closeUnixSockets, unixSocket } from './unix-sockets.ts';

/* Streams of unix sockets go on although the forwarder is killed many times, mostly at a certain system call. */

const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const servers = new Set<net.Server>();
test.after.each(async () => {
  closeUnixSockets();
  for (const server of servers) server.close();
  servers.clear();
  await closeAll();
});

type Started = Pick<Forwarder, 'log' | 'kill' | 'exited'>;

/** Starts a forwarder that is killed so many times, first when the sessions that begin with it are stored: 900 ms after the first. */
function startKilled(fd: number, to: string, kills: number): Started {
  return run(['--link', 'test', '--to', to, '--idle', '0'], 'export LISTEN_FDS=1 LISTEN_PID=$$;', {
    fds: [fd],
    command: [process.execPath, '--import', 'tsx', new URL('service-manager.ts', import.meta.url).pathname],
    env: {
      KILLS: String(kills),
      SEED: String(Date.now() % 100_000),
      AGE: '2000',
      BEGIN: 'FDSTORE',
      PROGRAM: programs.forwarder,
    },
  });
}

function echo(socket: net.Socket): void {
  socket.on('error', () => {});
  socket.pipe(socket);
}

/** A server at a path that sends back what it gets, and ends when its client does. */
async function echoAt(path: string): Promise<void> {
  const server = net.createServer({ allowHalfOpen: true }, echo);
  servers.add(server);
  server.listen(path);
  await once(server, 'listening');
}

/** Sends pieces of bytes with pauses for as long as `isOver` says, and ends. Returns what was sent and what has come back. */
async function converse(
  to: net.NetConnectOpts,
  isOver: () => boolean,
): Promise<{ sent: Buffer; back: Buffer; how: string }> {
  const socket = net.connect({ ...to, allowHalfOpen: true });
  const heard = collect(socket);
  const sent: Buffer[] = [];
  while (!isOver()) {
    const bytes = randomBytes(1 + Math.floor(Math.random() * 30_000));
    sent.push(bytes);
    socket.write(bytes);
    await sleep(20 + Math.random() * 60);
  }
  socket.end();
  const { bytes, how } = await heard;
  return { sent: Buffer.concat(sent), back: bytes, how };
}

for (const [head, tail] of [
  ['path', 'path'],
  ['path', 'tcp'],
  ['tcp', 'path'],
] as const) {
  test(`streams from ${head} to ${tail} lose no byte when the forwarder is killed`, async () => {
    const path = join(directory, `${head}-${tail}`);
    const port = tail === 'tcp' ? (await serve(echo)).port : 0;
    if (tail === 'path') await echoAt(`${path}.tail`);
    const tcp = net.createServer().listen(0, '127.0.0.1');
    await once(tcp, 'listening');
    const to =
      head === 'path'
        ? { path: `${path}.head` }
        : { port: (tcp.address() as net.AddressInfo).port, host: '127.0.0.1' };
    const fd = head === 'path' ? unixSocket('unix').bind(`${path}.head`).listen(4096).fd : descriptorOf(tcp);
    const forwarder = startKilled(fd, tail === 'tcp' ? `127.0.0.1:${port}` : `${path}.tail`, 12);
    tcp.close();
    const sessions = 20;
    const isOver = (): boolean => forwarder.log().includes('now left alone');
    const over = until(isOver, 300_000);
    const ends = await Promise.all(Array.from({ length: sessions }, () => converse(to, isOver)));
    await over;
    for (const { sent, back, how } of ends) {
      assert.is(how, 'end', forwarder.log());
      assert.ok(back.equals(sent), `${back.length} bytes came back of ${sent.length}\n${forwarder.log()}`);
    }
    forwarder.kill('SIGTERM');
    assert.is(await forwarder.exited, 0, forwarder.log());
    // Some of the kills come before it has said that it took the sessions over.
    assert.ok((forwarder.log().match(/took over 20 open sessions/g)?.length ?? 0) >= 3, forwarder.log());
    assert.match(forwarder.log(), /killed 12 times, 0 descriptors in the store/);
    assert.not.match(forwarder.log(), /cannot|died/);
  });
}

test('a session that ends is seen to end at once, although it is stored', async () => {
  const path = join(directory, 'end');
  let closed = 0;
  const server = net.createServer((socket) =>
    socket
      .on('error', () => {})
      .on('close', () => closed++)
      .resume(),
  );
  servers.add(server);
  server.listen(`${path}.tail`);
  await once(server, 'listening');
  const forwarder = startKilled(unixSocket('unix').bind(`${path}.head`).listen(4096).fd, `${path}.tail`, 1);
  const client = net.connect(`${path}.head`).on('error', () => {});
  const talk = setInterval(() => client.write('x'), 100);
  await until(() => /took over 1 open session/.test(forwarder.log()));
  clearInterval(talk);
  await sleep(1500);
  client.destroy();
  await until(() => closed === 1, 10_000);
  forwarder.kill('SIGTERM');
  assert.is(await forwarder.exited, 0, forwarder.log());
  assert.match(forwarder.log(), /0 descriptors in the store/);
});

test.run();
