import './own-state.ts';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { createAt, deleteAt, ping, withConnection } from '../../src/api/client.ts';
import type { Machine } from '../../src/api/connect.ts';
import { apiSuite, context, daemon, directory, fails, journal, local, there } from './api-daemon.ts';

const test = apiSuite('the client of the API');

const tcp = (host: string, port: number): Machine => ({ ...there(), endpoint: { kind: 'tcp', host, port } });

test('a machine that is unreachable, or is not wormholed, is reported in one line', async () => {
  await fails(ping(tcp('127.0.0.1', 1)), /^no daemon at tcp:\/\/127\.0\.0\.1:1, the connection is refused/);
  await fails(ping(tcp('no-such-machine.invalid', 1)), /^machine "no-such-machine.invalid" is unknown/);
  await fails(
    ping({ ...local, endpoint: { kind: 'unix', path: join(directory, 'none') } }),
    /^no daemon at unix:\/\//,
  );
  await fails(ping({ ...there(), keyFile: '/nowhere/key' }), /^no key file \/nowhere\/key/);
  for (const [behave, expected] of [
    [(socket: Socket) => socket.destroy(), /closes the connection at once: this is not wormholed/],
    [
      (socket: Socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n'),
      /does not speak TLS: this is not wormholed/,
    ],
  ] as [(socket: Socket) => void, RegExp][]) {
    const other = createServer((socket) => {
      socket.on('error', () => {});
      behave(socket);
    }).listen(0, '127.0.0.1');
    await once(other, 'listening');
    await fails(ping(tcp('127.0.0.1', (other.address() as AddressInfo).port)), expected);
    other.close();
  }
});

test('a client waits for work that takes long, but not for a silent daemon or machine', async () => {
  daemon.gate = sleep(13_500);
  const ignore = (socket: Socket) => socket.on('error', () => {});
  const mute = createServer(ignore).listen(join(directory, 'mute'));
  const muteMachine = createServer(ignore).listen(0, '127.0.0.1');
  await Promise.all([once(mute, 'listening'), once(muteMachine, 'listening')]);
  const endpoint = { kind: 'unix', path: join(directory, 'mute') } as const;
  const { port } = muteMachine.address() as AddressInfo;
  await Promise.all([
    createAt(there(), ['a']),
    fails(createAt({ ...local, endpoint }, ['a']), /mute has said nothing for 12 s: is it still there\?$/),
    fails(ping(tcp('127.0.0.1', port)), /does not answer \(waited 15 s\)/),
  ]);
  mute.close();
  muteMachine.close();
});

test('work is completed when the caller goes away', async () => {
  let open = () => {};
  daemon.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const before = daemon.ended;
  const caller = withConnection(there(), async (send) => {
    const answer = send({ method: 'POST', path: '/v1/links', body: { recipe: ['a'] } });
    answer.catch(() => {});
    while (context.working === 0) await sleep(5);
    throw new Error('gone');
  });
  await fails(caller, /^gone$/);
  // In so many rounds of its loop this process, which is the daemon as well, notices that the connection is closed.
  for (let n = 0; n < 20; n++) await sleep(10);
  assert.is(context.working, 1);
  open();
  while (context.working > 0) await sleep(5);
  assert.is(daemon.ended, before + 1);
  assert.match(journal.join(), /: create a: created a .*; the caller had gone away\)$/);
});

test('a daemon that falls silent, or goes away, is distinguished from one that fails', async () => {
  const dying = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.destroy());
  }).listen(join(directory, 'dying'));
  await once(dying, 'listening');
  const machine: Machine = { ...local, endpoint: { kind: 'unix', path: join(directory, 'dying') } };
  await fails(createAt(machine, ['a']), /has gone away before it answered/);
  dying.close();
  const odd = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'));
  }).listen(join(directory, 'odd'));
  await once(odd, 'listening');
  await fails(
    createAt({ ...local, endpoint: { kind: 'unix', path: join(directory, 'odd') } }, ['a']),
    /gives an answer \(200\) that is not from wormholed/,
  );
  odd.close();
});

test('a daemon that takes no body with DELETE deletes all the same, and is not asked for what it cannot do', async () => {
  const asked: string[] = [];
  const older = createHttpServer((request, response) => {
    const length = Number(request.headers['content-length'] ?? 0);
    asked.push(`${request.method} ${request.url} ${length > 0 ? 'with' : 'without'} a body`);
    request.resume();
    const message = `${request.url} takes no body`;
    if (length === 0) response.writeHead(request.url === '/v1/links/there' ? 204 : 404);
    else response.writeHead(400, { connection: 'close' });
    if (length > 0) response.end(JSON.stringify({ error: { code: 'usage', message } }));
    else if (request.url === '/v1/links/there') response.end();
    else response.end(JSON.stringify({ error: { code: 'not-found', message: 'no link' } }));
  }).listen(join(directory, 'older'));
  await once(older, 'listening');
  const machine: Machine = { ...local, endpoint: { kind: 'unix', path: join(directory, 'older') } };
  assert.equal(await deleteAt(machine, 'there'), []);
  assert.equal(await deleteAt(machine, 'there', { keep: false, volumes: false }), []);
  await fails(deleteAt(machine, 'gone'), /^no link$/);
  asked.length = 0;
  for (const body of [{ volumes: true }, { keep: true }])
    await fails(deleteAt(machine, 'there', body), /older version.*: upgrade Wormhole there/);
  assert.equal(asked, Array(2).fill('DELETE /v1/links/there with a body'));
  assert.equal(await deleteAt(local, 'there'), []);
  older.close();
});

test.run();
