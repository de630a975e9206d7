import { spawnSync } from 'node:child_process';
import type dgram from 'node:dgram';
import { closeSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import koffi from 'koffi';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  bind,
  closeAll,
  type Forwarder,
  launch,
  limitDescriptors,
  sleep,
  until,
} from './forwarder-launch.ts';
import { createTrace } from './forwarder-trace.ts';
import { closeHelpers, fileOf, helper, launchNamed } from './name-helper.ts';

/*
 * Errors of datagrams after which sockets without a relay go on. ICMP messages tell of most of them, as a router on the way sends them. To
 * be allowed to send such, this file runs in a network namespace of its own.
 */

const INSIDE = 'WORMHOLE_TEST_IN_NAMESPACE';

if (process.env[INSIDE] === undefined) {
  const isRoot = process.geteuid?.() === 0;
  const self = [process.execPath, '--import', 'tsx', fileURLToPath(import.meta.url)];
  const { status } = spawnSync('unshare', [...(isRoot ? [] : ['--map-root-user']), '--net', ...self], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  });
  process.exit(status ?? 1);
}

const open = new Set<dgram.Socket>();

test.before(() => {
  assert.is(spawnSync('ip', ['link', 'set', 'lo', 'up']).status, 0);
});
test.after.each(async () => {
  closeHelpers();
  for (const socket of open) socket.close();
  open.clear();
  await closeAll();
});

/** A UDP socket, what it has received, and the ports that this is from. */
interface Peer {
  readonly socket: dgram.Socket;
  readonly port: number;
  readonly received: string[];
  readonly senders: number[];
}

async function peer(answer?: string, at = 0): Promise<Peer> {
  const socket = await bind('127.0.0.1', at);
  open.add(socket);
  socket.on('close', () => open.delete(socket));
  const found: Peer = { socket, port: socket.address().port, received: [], senders: [] };
  socket.on('error', () => {});
  socket.on('message', (message, from) => {
    found.received.push(`${message}`);
    found.senders.push(from.port);
    if (answer !== undefined) socket.send(answer, from.port, from.address);
  });
  return found;
}

/** Types and codes of ICMP (RFC 792). */
const HOST_UNREACHABLE = [3, 1] as const;
const FRAGMENTATION_NEEDED = [3, 4] as const;

const libc = koffi.load(null);
const [AF_INET, SOCK_RAW_CLOEXEC, IPPROTO_ICMP, IPPROTO_RAW] = [2, 3 | 0x80000, 1, 255];
const raw = libc.func('int socket(int, int, int)')(AF_INET, SOCK_RAW_CLOEXEC, IPPROTO_ICMP);
const sendto = libc.func('int sendto(int, void *, int64_t, int, void *, uint)');

/** A router tells the sender of a datagram, which went from one port of 127.0.0.1 to another, that it could not be delivered. */
function sendIcmp([type, code]: readonly [number, number], from: number, to: number, datagram: string): void {
  const message = Buffer.alloc(8 + 20 + 8 + datagram.length);
  const loopback = 0x7f000001;
  message.writeUInt8(type, 0);
  message.writeUInt8(code, 1);
  // The MTU of the next hop, if that is what it is about.
  message.writeUInt16BE(code === FRAGMENTATION_NEEDED[1] ? 600 : 0, 6);
  const [ip, udp] = [message.subarray(8), message.subarray(28)];
  ip.writeUInt8(0x45, 0);
  ip.writeUInt16BE(28 + datagram.length, 2);
  ip.writeUInt8(64, 8);
  ip.writeUInt8(17, 9);
  ip.writeUInt32BE(loopback, 12);
  ip.writeUInt32BE(loopback, 16);
  udp.writeUInt16BE(from, 0);
  udp.writeUInt16BE(to, 2);
  udp.writeUInt16BE(8 + datagram.length, 4);
  udp.write(datagram, 8);
  let sum = 0;
  for (let at = 0; at < message.length; at += 2)
    sum += (message[at] as number) * 256 + (message[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  message.writeUInt16BE(~sum & 0xffff, 2);
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET, 0);
  address.writeUInt32BE(loopback, 4);
  assert.is(sendto(raw, message, message.length, 0, address, 16), message.length);
}

function launchUdp(to: number, args: string[] = [], host = '127.0.0.1'): Promise<Forwarder> {
  return launch({ to, host, listeners: 0, datagrams: 1, args: ['--idle', '0', ...args] });
}

test('a client that cannot be reached for a moment keeps its session', async () => {
  const target = await peer('answer');
  const forwarder = await launchUdp(target.port);
  const client = await peer();
  client.socket.send('before', forwarder.port, '127.0.0.1');
  await until(() => client.received.length === 1);
  sendIcmp(HOST_UNREACHABLE, forwarder.port, client.port, 'answer');
  client.socket.send('after', forwarder.port, '127.0.0.1');
  await until(() => client.received.length === 2);
  assert.equal(target.received, ['before', 'after']);
  assert.is(target.senders[1], target.senders[0]);
});

test('errors about other clients, however many, cost a client no reply', async () => {
  const target = await peer();
  const forwarder = await launchUdp(target.port);
  const client = await peer();
  client.socket.send('request', forwarder.port, '127.0.0.1');
  await until(() => target.received.length === 1);
  forwarder.kill('SIGSTOP');
  await until(() => /^State:\s+T/m.test(readFileSync(`/proc/${forwarder.pid}/status`, 'utf8')));
  await new Promise<void>((resolve) =>
    target.socket.send('reply', target.senders[0] as number, '127.0.0.1', () => resolve()),
  );
  for (let n = 0; n < 100; n++) sendIcmp(HOST_UNREACHABLE, forwarder.port, 1, 'to another');
  forwarder.kill('SIGCONT');
  await until(() => client.received.length === 1, 10_000);
});

/** How long after it was sent a datagram that nothing has refused counts as arrived, ms. */
const ARRIVED_MS = 1000;

test('a session whose target never answers goes on when the target cannot be reached for a moment, or refuses', async () => {
  const target = await peer();
  const forwarder = await launchUdp(target.port);
  const client = await peer();
  const send = (text: string): void => client.socket.send(text, forwarder.port, '127.0.0.1');
  send('one');
  await until(() => target.received.length === 1);
  await sleep(ARRIVED_MS + 500);
  sendIcmp(HOST_UNREACHABLE, target.senders[0] as number, target.port, 'one');
  await until(() => /EHOSTUNREACH/.test(forwarder.log()));
  send('two');
  await until(() => target.received.length === 2);
  await sleep(ARRIVED_MS + 500);
  await new Promise<void>((resolve) => target.socket.close(() => resolve()));
  send('three');
  await until(() => /ECONNREFUSED/.test(forwarder.log()));
  // It waits for the target.
  send('four');
  await sleep(300);
  const again = await peer(undefined, target.port);
  await until(() => again.received.length === 1);
  assert.equal([...target.received, ...again.received], ['one', 'two', 'four']);
  assert.is(new Set([...target.senders, ...again.senders]).size, 1);
  assert.match(forwarder.log(), / was unreachable just now \(EHOSTUNREACH: /);
  assert.match(forwarder.log(), / refused datagrams just now \(ECONNREFUSED: /);
});

test('a session whose target never answers goes on at another address of the name, for which the next datagram waits', async () => {
  const targets = [await peer(), await peer()] as const;
  const addresses = targets.map(({ port }) => `127.0.0.1:${port}`);
  const at = await helper({ addresses, ttl: ARRIVED_MS });
  const forwarder = await launchNamed(at, ['--idle', '0'], { listeners: 0, datagrams: 1 });
  const client = await peer();
  const send = (text: string): void => client.socket.send(text, forwarder.port, '127.0.0.1');
  send('one');
  await until(() => targets[0].received.length === 1);
  await sleep(ARRIVED_MS + 500);
  sendIcmp(HOST_UNREACHABLE, targets[0].senders[0] as number, targets[0].port, 'one');
  await until(() => /EHOSTUNREACH/.test(forwarder.log()));
  send('two');
  await sleep(300);
  at.answer(fileOf({ addresses }));
  await until(() => targets[1].received.length === 1);
  assert.equal(
    targets.map(({ received }) => received),
    [['one'], ['two']],
  );
});

test('a datagram that is too large for the way to an address of a name is no fault of that address', async () => {
  const targets = [await peer(), await peer()] as const;
  const at = await helper({ addresses: targets.map(({ port }) => `127.0.0.1:${port}`) });
  const forwarder = await launchNamed(at, ['--idle', '0'], { listeners: 0, datagrams: 1 });
  const client = await peer();
  client.socket.send('one', forwarder.port, '127.0.0.1');
  await until(() => targets[0].received.length === 1);
  const tellMtu = (): void =>
    sendIcmp(FRAGMENTATION_NEEDED, targets[0].senders[0] as number, targets[0].port, 'one');
  tellMtu();
  // In fragments, if it is so large.
  await until(() => targets[0].received.length === 2);
  await sleep(ARRIVED_MS + 500);
  tellMtu();
  client.socket.send('two', forwarder.port, '127.0.0.1');
  await until(() => targets[0].received.length === 3);
  assert.equal(
    targets.map(({ received }) => received),
    [['one', 'one', 'two'], []],
  );
  assert.is(new Set(targets[0].senders).size, 1);
  assert.is(at.count(), 0);
  assert.is(forwarder.log(), '');
});

test('a datagram of IPv6 that is larger than any of IPv4 is lost alone', async () => {
  const target = await peer();
  const forwarder = await launchUdp(target.port, ['--dial-timeout', '0.3'], '::1');
  const client = await bind('::1');
  open.add(client);
  client.send(Buffer.alloc(65_520), forwarder.port, '::1');
  await sleep(1000);
  client.send('small', forwarder.port, '::1');
  await until(() => target.received.length === 1);
  assert.equal(target.received, ['small']);
  assert.is(forwarder.log(), '');
  assert.is(forwarder.descriptors('socket'), 2);
});

test('a datagram for which there are no buffers is lost alone, and those before it do not arrive twice', async () => {
  const target = await peer();
  const { wrapper } = createTrace({ inject: ['sendmmsg:error=ENOBUFS:when=2'] });
  const at = await helper({ addresses: [`127.0.0.1:${target.port}`] });
  const forwarder = await launchNamed(at, ['--idle', '0'], { listeners: 0, datagrams: 1, wrapper });
  const client = await peer();
  for (const text of ['one', 'lost', 'two']) {
    client.socket.send(text, forwarder.port, '127.0.0.1');
    if (text !== 'lost') await until(() => target.received.at(-1) === text);
    else await sleep(500);
  }
  assert.equal(target.received, ['one', 'two']);
  assert.is(at.count(), 0);
  assert.is(forwarder.log(), '');
});

test('a machine without descriptors left does not have a target looked up, and sends the datagram once it has some', async () => {
  const target = await peer();
  const at = await helper({ addresses: [`127.0.0.1:${target.port}`] });
  const forwarder = await launchNamed(at, ['--idle', '0'], { listeners: 0, datagrams: 1 });
  const [client, other] = [await peer(), await peer()];
  client.socket.send('one', forwarder.port, '127.0.0.1');
  await until(() => target.received.length === 1);
  limitDescriptors(forwarder, 3);
  other.socket.send('two', forwarder.port, '127.0.0.1');
  await sleep(500);
  limitDescriptors(forwarder, 1000);
  await until(() => target.received.length === 2);
  assert.equal(target.received, ['one', 'two']);
  assert.is(at.count(), 0);
  assert.is(forwarder.log(), '');
});

/** Sends a datagram that seems to be from an address, which nobody has, to a port of another one. */
function sendAs(from: string, to: string, port: number, text: string): void {
  const packet = Buffer.alloc(28 + text.length);
  const [ip, udp] = [packet, packet.subarray(20)];
  // The kernel fills in the length, the number and the checksum (raw(7)).
  ip.writeUInt8(0x45, 0);
  ip.writeUInt8(64, 8);
  ip.writeUInt8(17, 9);
  Buffer.from(from.split('.').map(Number)).copy(ip, 12);
  Buffer.from(to.split('.').map(Number)).copy(ip, 16);
  udp.writeUInt16BE(5000, 0);
  udp.writeUInt16BE(port, 2);
  udp.writeUInt16BE(8 + text.length, 4);
  udp.write(text, 8);
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET, 0);
  Buffer.from(to.split('.').map(Number)).copy(address, 4);
  const fd = libc.func('int socket(int, int, int)')(AF_INET, SOCK_RAW_CLOEXEC, IPPROTO_RAW);
  assert.is(sendto(fd, packet, packet.length, 0, address, 16), packet.length);
  closeSync(fd);
}

/** The descriptor of the head. */
const HEAD = 3;

/** Two interfaces that are joined. Nobody answers ARP behind them, and the kernel gives up after half a second. */
const IN_NETWORK = `
ip link add wh0 type veth peer name wh1
ip address add 10.9.9.1/24 dev wh0
ip link set wh0 up
ip link set wh1 up
echo 200 >/proc/sys/net/ipv4/neigh/wh0/retrans_time_ms`;

test('while clients that are gone fill the send buffer of a head, replies to others wait, and the loop does not', async () => {
  assert.is(spawnSync('sh', ['-ec', IN_NETWORK]).status, 0);
  // Those of the others are more than the buffer takes, and this client's are fewer than its own takes.
  const [most, count] = [150, 50];
  const target = await bind('127.0.0.1');
  open.add(target);
  // The kernel keeps what is for a client until ARP has found it, and counts it to the buffer.
  target.on('message', (asked, { port, address }) => {
    for (let n = 0; n < Number(asked); n++) target.send(Buffer.alloc(1000, `${n} `), port, address);
  });
  const { wrapper, rounds } = createTrace({ names: ['poll', 'sendmmsg'] });
  const forwarder = await launch({
    to: target.address().port,
    host: '0.0.0.0',
    listeners: 0,
    datagrams: 1,
    args: ['--idle', '0'],
    wrapper,
  });
  for (const gone of ['10.9.9.2', '10.9.9.3']) sendAs(gone, '10.9.9.1', forwarder.port, `${most}`);
  const calls = () => rounds().flat();
  await until(() => calls().some(({ name, fd, result }) => name === 'sendmmsg' && fd === HEAD && result < 0));
  const client = await peer();
  client.socket.send(`${count}`, forwarder.port, '127.0.0.1');
  await until(() => client.received.length === count, 20_000).catch(() => {});
  assert.is(client.received.length, count);
  const waits = rounds().map(
    (round) => round.filter(({ name, args }) => name === 'poll' && /, 2$/.test(args)).length,
  );
  assert.is(Math.max(...waits), 1);
});

test.run();
