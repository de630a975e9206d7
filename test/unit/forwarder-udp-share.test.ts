import type dgram from 'node:dgram';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sourceIn } from '../../src/forwarder/sources.ts';
import { bind, closeAll, launch, until } from './forwarder-launch.ts';

/* One address that opens sessions of datagrams without end does not end those of others. */

const open = new Set<dgram.Socket>();
test.after.each(async () => {
  for (const socket of open) socket.close();
  open.clear();
  await closeAll();
});

async function socketAt(host: string): Promise<dgram.Socket> {
  const socket = await bind(host);
  socket.on('error', () => {});
  open.add(socket);
  return socket;
}

for (const [others, rest] of [
  ['127.0.0.2', '127.0.0.1'],
  ['127.0.0.1', '127.0.0.3'],
] as const)
  test(`the sessions of others stay while clients of ${others} come without end`, async () => {
    const server = await socketAt('127.0.0.1');
    const ports = new Map<string, Set<number>>();
    let count = 0;
    server.on('message', (message, { port }) => {
      count += 1;
      const name = String(message);
      ports.set(name, (ports.get(name) ?? new Set()).add(port));
    });
    const { port } = await launch({
      ...{ to: server.address().port, listeners: 0, datagrams: 1 },
      args: ['--max-sessions', '32'],
    });
    const arrives = async (socket: dgram.Socket, name: string): Promise<void> => {
      const before = count;
      socket.send(name, port, '127.0.0.1');
      await until(() => count > before);
    };
    const quiet = await Promise.all(Array.from({ length: 20 }, () => socketAt(rest)));
    for (const [n, socket] of quiet.entries()) await arrives(socket, `quiet ${n}`);
    for (let n = 0; n < 100; n++) await arrives(await socketAt(others), 'flood');
    for (const [n, socket] of quiet.entries()) await arrives(socket, `quiet ${n}`);
    // The kernel may use the port of one that has ended again.
    assert.ok((ports.get('flood')?.size ?? 0) > 50);
    for (const n of quiet.keys()) assert.is(ports.get(`quiet ${n}`)?.size, 1, `quiet ${n}`);
    // As long as others have less than their share, a new client finds room all the same.
    const late = await socketAt('127.0.0.4');
    await arrives(late, 'late');
    await arrives(late, 'late');
    assert.is(ports.get('late')?.size, 1);
  });

test('the source of a client is its IPv4 address, or the first half of its IPv6 address', () => {
  const sockaddr = (hex: string): Int32Array => {
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
    return new Int32Array(new Uint8Array(bytes).buffer);
  };
  const ipv4 = sourceIn(sockaddr('0200 1234 c0000201 0000000000000000'));
  assert.is(ipv4, sourceIn(sockaddr('0200 5678 c0000201 0000000000000000')));
  assert.is(ipv4, sourceIn(sockaddr('0a00 1234 00000000 00000000000000000000ffffc0000201 00000000')));
  const ipv6 = sourceIn(sockaddr('0a00 1234 00000000 20010db8000000010000000000000001 00000000'));
  assert.is(ipv6, sourceIn(sockaddr('0a00 5678 00000000 20010db8000000010000000000000002 00000000')));
  assert.is.not(ipv6, sourceIn(sockaddr('0a00 1234 00000000 20010db8000000020000000000000001 00000000')));
  assert.is(sourceIn(sockaddr('0100 2f78 00000000')), undefined);
});

test.run();
