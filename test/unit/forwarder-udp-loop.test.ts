import type dgram from 'node:dgram';
import { once } from 'node:events';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  bind,
  closeAll,
  datagramDescriptorOf,
  type Forwarder,
  load,
  run,
  until,
} from './forwarder-launch.ts';

/* Links of datagrams that lead to each other by addresses which a recipe does not show to be those of one machine. */

test.after.each(closeAll);

/** Forwarders of which each leads to the next one, and the last one to the first, at addresses of `host`. */
async function circle(
  count: number,
  host: string,
): Promise<{ forwarders: Pick<Forwarder, 'log' | 'cpu' | 'descriptors'>[]; port: number }> {
  const heads = await Promise.all(Array.from({ length: count }, () => bind(host)));
  const ports = heads.map((head) => head.address().port);
  const text = host.includes(':') ? `[${host}]` : host;
  const forwarders = heads.map((head, at) =>
    run(
      ['--link', `link${at}`, '--to', `${text}:${ports[(at + 1) % count]}`],
      'export LISTEN_FDS=1 LISTEN_PID=$$;',
      {
        fds: [datagramDescriptorOf(head)],
      },
    ),
  );
  for (const head of heads) head.close();
  return { forwarders, port: ports[0] as number };
}

async function send(port: number, host: string): Promise<dgram.Socket> {
  const socket = await bind(host);
  socket.connect(port, host);
  await once(socket, 'connect');
  socket.send('once');
  return socket;
}

for (const [count, host] of [
  [1, '127.0.0.1'],
  [2, '127.0.0.1'],
  [2, '::1'],
] as const)
  test(`a datagram does not go round for ever through ${count} forwarders at ${host}`, async () => {
    const { forwarders, port } = await circle(count, host);
    const client = await send(port, host);
    const isOver = () => forwarders.some(({ log }) => log().includes('dropped a datagram of'));
    await until(isOver);
    const all = forwarders.map(({ log }) => log()).join('');
    assert.match(
      all,
      /^<4>link link\d: dropped a datagram of \S+: it has passed as many links and routers as it may \(TTL, hop limit\); do links lead back to this one\?$/m,
    );
    assert.not.match(all, /--max-sessions/);
    for (const forwarder of forwarders) assert.ok(forwarder.descriptors('socket') <= 70);
    assert.ok((await load(forwarders[0] as Forwarder)) < 0.1);
    client.close();
  });

test.run();
