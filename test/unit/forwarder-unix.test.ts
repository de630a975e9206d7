import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, unlinkSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sendDescriptors } from '../../src/forwarder/store/descriptors.ts';
import {
  bind,
  closeAll,
  collect,
  datagramDescriptorOf,
  descriptorOf,
  type Forwarder,
  load,
  run,
  serve,
  sleep,
  until,
  within,
} from './forwarder-launch.ts';
import { closeUnixSockets, type UnixSocket, unixSocket } from './unix-sockets.ts';

/* Unix sockets as head and as tail. */

const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

let names = 0;
const newPath = (): string => join(directory, `${names++}.sock`);

const servers = new Set<net.Server>();
test.after.each(async () => {
  closeUnixSockets();
  for (const server of servers) server.close();
  servers.clear();
  await closeAll();
});

type Started = Pick<Forwarder, 'log' | 'kill' | 'exited' | 'descriptors' | 'cpu'>;

/** Starts the forwarder with sockets that this process has made. */
function start(fds: number[], to: string, args: string[] = []): Started {
  const before = `export LISTEN_FDS=${fds.length} LISTEN_PID=$$;`;
  return run(['--link', 'test', '--to', to, '--idle', '0', ...args], before, { fds });
}

/** A listening socket at a new path, which the forwarder gets, and from which this process accepts nobody. */
function streamHead(): { path: string; fd: number } {
  const path = newPath();
  return { path, fd: unixSocket('unix').bind(path).listen(4096).fd };
}

/** A server at a path that sends back what it gets, and ends when its client does. */
async function echoAt(path: string | { fd: number }): Promise<net.Server> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  servers.add(server);
  server.listen(path);
  await once(server, 'listening');
  return server;
}

/** What comes back when a client sends `bytes` and ends. */
async function exchange(options: net.NetConnectOpts, bytes: Buffer): Promise<{ bytes: Buffer; how: string }> {
  const socket = net.connect({ ...options, allowHalfOpen: true });
  const heard = collect(socket);
  socket.end(bytes);
  return heard;
}

test('streams: from a path to tcp, from tcp to a path, from a path to a path', async () => {
  const { port } = await serve((socket) => socket.pipe(socket));
  const path = newPath();
  await echoAt(path);
  const tcp = net.createServer().listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  const { port: tcpPort } = tcp.address() as net.AddressInfo;
  const bytes = randomBytes(5_000_000);
  const [one, other] = [streamHead(), streamHead()];
  start([one.fd], `127.0.0.1:${port}`);
  start([descriptorOf(tcp)], path);
  tcp.close();
  const both = start([other.fd], path);
  const ends: net.NetConnectOpts[] = [
    { path: one.path },
    { port: tcpPort, host: '127.0.0.1' },
    { path: other.path },
  ];
  for (const end of ends) {
    const { bytes: got, how } = await exchange(end, bytes);
    assert.ok(got.equals(bytes), `${got.length} bytes came back of ${bytes.length}`);
    assert.is(how, 'end');
  }
  assert.is(both.log(), '');
  assert.ok((await load(both as Forwarder)) < 0.1);
  await until(() => both.descriptors('socket') === 1);
});

test('streams: an abstract name, and 200 clients at once', async () => {
  const name = `@wormhole-test-${process.pid}`;
  // Some versions of Node fill an abstract name up with zero bytes.
  await echoAt({ fd: unixSocket('unix').bind(name).listen(4096).fd });
  const head = streamHead();
  start([head.fd], name);
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, n) => exchange({ path: head.path }, Buffer.from(`client ${n}`))),
  );
  assert.equal(
    answers.map(({ bytes }) => `${bytes}`),
    answers.map((_, n) => `client ${n}`),
  );
});

test('streams: a client that closes without reading ends its session, and the target hears of it', async () => {
  const path = newPath();
  const closed: boolean[] = [];
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    const talk = setInterval(() => socket.write('x'.repeat(1000)), 5);
    socket.on('close', () => {
      clearInterval(talk);
      closed.push(true);
    });
  });
  servers.add(server.listen(path));
  const head = streamHead();
  const forwarder = start([head.fd], path);
  const client = net.connect({ path: head.path });
  await once(client, 'data');
  client.destroy();
  await until(() => closed.length === 1);
  await until(() => forwarder.descriptors('socket') === 1);
  assert.ok((await load(forwarder as Forwarder)) < 0.1);
});

test('streams: the client waits for a path that appears, and one that never does costs a line', async () => {
  const path = newPath();
  const head = streamHead();
  const patient = start([head.fd], path, ['--dial-timeout', '60']);
  const heard = exchange({ path: head.path }, Buffer.from('hello'));
  await sleep(300);
  const server = await echoAt(path);
  assert.is(String((await heard).bytes), 'hello');
  assert.is(patient.log(), '');
  await new Promise((resolve) => server.close(resolve));
  const other = streamHead();
  const forwarder = start([other.fd], path, ['--dial-timeout', '1', '--place', 'this host']);
  assert.is(String((await exchange({ path: other.path }, Buffer.from('hello'))).bytes), '');
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /^<4>link test: \/.*\.sock on this host did not exist for 1 s \(ENOENT: [^)]+\); closed the client process \d+; the next connection tries again\n$/,
  );
});

/** The head and a client of datagrams or messages. */
function gram(): { head: UnixSocket; path: string } {
  const path = newPath();
  return { head: unixSocket('unixgram').bind(path), path };
}

async function received(socket: UnixSocket): Promise<{ message: Buffer; from: Buffer }> {
  let found: ReturnType<UnixSocket['receive']>;
  await until(() => {
    found = socket.receive();
    return found !== undefined;
  });
  return found as { message: Buffer; from: Buffer };
}

test('datagrams: each sender with an address gets its own answers, of every size', async () => {
  const { head, path } = gram();
  const target = gram();
  const forwarder = start([head.fd], target.path);
  const clients = Array.from({ length: 20 }, () => unixSocket('unixgram').bind().connect(path));
  for (const size of [1, 0, 4096, 65_507, 100_000]) {
    for (const client of clients) {
      const message = randomBytes(size);
      assert.ok(client.send(message));
      const asked = await received(target.head);
      assert.ok(asked.message.equals(message), `${size} bytes`);
      assert.ok(target.head.answer(asked.message, asked.from));
      assert.ok((await received(client)).message.equals(message));
    }
  }
  assert.is(forwarder.log(), '');
});

test('datagrams: none is lost and none overtakes another while the target does not read', async () => {
  const { head, path } = gram();
  const target = gram();
  const forwarder = start([head.fd], target.path);
  const sender = unixSocket('unixgram').connect(path);
  const count = 3000;
  const got: number[] = [];
  let sent = 0;
  let full = 0;
  while (got.length < count) {
    while (sent < count && sender.send(`${sent}`)) sent++;
    if (sent < count) full++;
    // It reads in bursts, and sleeps between.
    if (full % 20 === 0 || sent === count)
      for (let next = target.head.receive(); next; next = target.head.receive())
        got.push(Number(String(next.message)));
    await sleep(1);
  }
  assert.equal(
    got,
    Array.from({ length: count }, (_, n) => n),
  );
  assert.ok(full > 0, 'the sender has felt that the target does not read');
  assert.ok((await load(forwarder as Forwarder)) < 0.1);
});

test('datagrams: a target that restarts is reached again, and one that stays away costs a line', async () => {
  const { head, path } = gram();
  const target = gram();
  const patient = start([head.fd], target.path, ['--dial-timeout', '60']);
  const sender = unixSocket('unixgram').connect(path);
  sender.send('one');
  assert.is(String((await received(target.head)).message), 'one');
  target.head.close();
  unlinkSync(target.path);
  sender.send('two');
  await sleep(200);
  const second = unixSocket('unixgram').bind(target.path);
  assert.is(String((await received(second)).message), 'two');
  assert.is(patient.log(), '');
  const other = gram();
  const forwarder = start([other.head.fd], target.path, ['--dial-timeout', '1']);
  const late = unixSocket('unixgram').connect(other.path);
  late.send('before');
  assert.is(String((await received(second)).message), 'before');
  second.close();
  late.send('lost');
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /^<4>link test: \/.*\.sock refused for 1 s \(ECONNREFUSED: connection refused\); dropped a datagram/,
  );
  // After a while in which nobody asks, a target may be starting again, and is waited for.
  await sleep(1200);
  late.send('patient');
  await sleep(300);
  unlinkSync(target.path);
  const third = unixSocket('unixgram').bind(target.path);
  assert.is(String((await received(third)).message), 'patient');
  late.send('three');
  assert.is(String((await received(third)).message), 'three');
});

test('datagrams: sessions end after the timeout, and beyond the limit the quietest does', async () => {
  const { head, path } = gram();
  const target = gram();
  const forwarder = start([head.fd], target.path, ['--udp-timeout', '3', '--max-sessions', '3']);
  for (let n = 0; n < 10; n++) {
    const client = unixSocket('unixgram').bind().connect(path);
    client.send(`${n}`);
    assert.is(String((await received(target.head)).message), `${n}`);
    // A session that gives way is closed when the datagram that it gives way to has left. Then another one is served.
    client.send('again');
    assert.is(String((await received(target.head)).message), 'again');
  }
  assert.is(forwarder.descriptors('socket'), 4);
  await until(() => /3 clients have a session, which is the limit/.test(forwarder.log()));
  await until(() => forwarder.descriptors('socket') === 1);
});

test('datagrams: a client that does not read its answers keeps no other from being served', async () => {
  const { head, path } = gram();
  const target = gram();
  const forwarder = start([head.fd], target.path);
  const deaf = unixSocket('unixgram').bind().connect(path);
  const client = unixSocket('unixgram').bind().connect(path);
  deaf.send('talk');
  const { from } = await received(target.head);
  // More of them would fill the send buffer of the target itself.
  for (let n = 0; n < 100 && target.head.answer(Buffer.from(`${n}`), from); n++) await sleep(0);
  for (let n = 0; n < 5; n++) {
    client.send(`${n}`);
    const asked = await received(target.head);
    assert.ok(target.head.answer(asked.message, asked.from));
    assert.is(String((await received(client)).message), `${n}`);
  }
  assert.ok((await load(forwarder as Forwarder)) < 0.2);
  assert.is(String((await received(deaf)).message), '0');
});

test('datagrams: a session whose client never reads its answers ends after the timeout', async () => {
  const { head, path } = gram();
  const target = gram();
  const forwarder = start([head.fd], target.path, ['--udp-timeout', '2']);
  unixSocket('unixgram').bind().connect(path).send('talk');
  const { from } = await received(target.head);
  // The last of them does not leave the forwarder, whose send buffer is full.
  const answer = Buffer.alloc(50_000);
  for (let n = 0; n < 50 && target.head.answer(answer, from); n++) await sleep(10);
  assert.not.ok(target.head.answer(answer, from), 'the forwarder takes no more answers');
  assert.is(forwarder.descriptors('socket'), 2);
  await until(() => forwarder.descriptors('socket') === 1);
});

test('datagrams: a client that is gone when it is answered keeps no other from being served', async () => {
  const { head, path } = gram();
  const target = gram();
  start([head.fd], target.path);
  const gone = unixSocket('unixgram').bind().connect(path);
  gone.send('first');
  const { from } = await received(target.head);
  // Until the queue of the target, the forwarder and the queue of the head hold as much as they can.
  for (let turn = 0; turn < 50; turn++) {
    while (gone.send('more')) turn = 0;
    await sleep(10);
  }
  gone.close();
  assert.ok(target.head.answer(Buffer.from('too late'), from));
  // The forwarder reads it, and finds nobody to send it to.
  await sleep(1000);
  const client = unixSocket('unixgram').bind().connect(path);
  await until(() => {
    for (let next = target.head.receive(); next; next = target.head.receive())
      if (String(next.message) === 'hello') return true;
    client.send('hello');
    return false;
  });
});

test('datagrams of UDP reach a unix socket, and its answers the client', async () => {
  const target = gram();
  const socket = await bind('127.0.0.1');
  const forwarder = start([datagramDescriptorOf(socket)], target.path);
  const { port } = socket.address();
  socket.close();
  const client = dgram.createSocket('udp4');
  try {
    client.send('<13>hello', port, '127.0.0.1');
    const asked = await received(target.head);
    assert.is(String(asked.message), '<13>hello');
    const heard = once(client, 'message');
    assert.ok(target.head.answer(Buffer.from('welcome'), asked.from));
    assert.is(String((await within(60_000, heard))[0]), 'welcome');
    // The target is another socket then.
    target.head.close();
    unlinkSync(target.path);
    const second = unixSocket('unixgram').bind(target.path);
    await until(() => {
      client.send('again', port, '127.0.0.1');
      return second.receive() !== undefined;
    });
    assert.is(forwarder.log(), '');
  } finally {
    client.close();
  }
});

async function accepted(listener: UnixSocket): Promise<UnixSocket> {
  let found: UnixSocket | undefined;
  await until(() => {
    found = listener.accept();
    return found !== undefined;
  });
  return found as UnixSocket;
}

function packetPair(args: string[] = []) {
  const [path, targetPath] = [newPath(), newPath()];
  const head = unixSocket('unixpacket').bind(path).listen();
  const target = unixSocket('unixpacket').bind(targetPath).listen();
  const forwarder = start([head.fd], targetPath, args);
  // The forwarder has it; a client that nobody accepts would be kept by this process.
  return { path, target, targetPath, forwarder };
}

test('messages keep their boundaries, the empty ones too, and the end is no message', async () => {
  const { path, target, forwarder } = packetPair();
  const client = unixSocket('unixpacket').connect(path);
  const server = await accepted(target);
  const messages = [0, 1, 0, 0, 4096, 100_000, 0].map((size) => randomBytes(size));
  for (const message of messages) assert.ok(client.send(message));
  for (const message of messages) assert.ok((await received(server)).message.equals(message));
  for (const message of messages) assert.ok(server.send(message));
  for (const message of messages) assert.ok((await received(client)).message.equals(message));
  await sleep(100);
  assert.is(server.receive(), undefined, 'no end yet');
  client.end();
  assert.is((await received(server)).message.length, 0);
  assert.is((await received(server)).message.length, 0, 'that is the end');
  assert.ok(server.send('the other way still works'));
  assert.is(String((await received(client)).message), 'the other way still works');
  server.close();
  assert.is((await received(client)).message.length, 0);
  assert.is(forwarder.log(), '');
  assert.ok((await load(forwarder as Forwarder)) < 0.1);
});

test('messages: none is lost while the other side does not read, also when the sender has closed', async () => {
  const { path, target, forwarder } = packetPair();
  const client = unixSocket('unixpacket').connect(path);
  const server = await accepted(target);
  const count = 2000;
  let sent = 0;
  const got: number[] = [];
  const readAll = () => {
    for (let next = server.receive(); next && next.message.length > 0; next = server.receive())
      got.push(Number(String(next.message.subarray(0, 8))));
  };
  for (let turn = 0; sent < count; turn++) {
    while (sent < count && client.send(`${sent}`.padEnd(2000))) sent++;
    if (turn % 10 === 9) readAll();
    await sleep(1);
  }
  client.close();
  await until(() => {
    readAll();
    return got.length === count;
  });
  assert.equal(
    got,
    Array.from({ length: count }, (_, n) => n),
  );
  await until(() => forwarder.descriptors('socket') === 1);
});

test('messages: what a server has said before it closed reaches the client, although it has left something unread', async () => {
  for (const hasArrived of [true, false]) {
    const { path, target } = packetPair();
    const client = unixSocket('unixpacket').connect(path);
    const server = await accepted(target);
    client.send('nobody reads this');
    if (hasArrived) await sleep(200);
    server.send('bye');
    server.close();
    assert.is(String((await received(client)).message), 'bye');
    assert.is((await received(client)).message.length, 0);
  }
});

test('descriptors that come with datagrams and messages are not passed on, and none stays open', async () => {
  const { head, path } = gram();
  const target = gram();
  const pair = packetPair();
  const forwarders = [start([head.fd], target.path), pair.forwarder];
  const sender = unixSocket('unixgram').bind().connect(path);
  const client = unixSocket('unixpacket').connect(pair.path);
  const server = await accepted(pair.target);
  const descriptors = Array.from({ length: 8 }, () => head.fd);
  for (let n = 0; n < 3; n++) {
    for (const [from, to] of [
      [sender, target.head],
      [client, server],
      [server, client],
    ] as const) {
      assert.is(sendDescriptors(from.fd, Buffer.from('hello'), descriptors), 0);
      assert.is(String((await received(to)).message), 'hello');
    }
  }
  // The listening socket and the one to the target, and of messages also the one of the client.
  assert.equal(
    forwarders.map((forwarder) => forwarder.descriptors('socket')),
    [2, 3],
  );
});

test('messages: a kernel without memory for one makes the loop wait, and not spin', async () => {
  const wrapper =
    'strace -D -q -o /dev/null -e trace=sendto -e inject=sendto:error=ENOBUFS:when=1..100 -e signal=none';
  const [path, targetPath] = [newPath(), newPath()];
  const target = unixSocket('unixpacket').bind(targetPath).listen();
  const { fd } = unixSocket('unixpacket').bind(path).listen();
  run(['--link', 'test', '--to', targetPath, '--idle', '0'], 'export LISTEN_FDS=1 LISTEN_PID=$$;', {
    fds: [fd],
    wrapper,
  });
  const client = unixSocket('unixpacket').connect(path);
  const server = await accepted(target);
  const began = performance.now();
  client.send('hello');
  assert.is(String((await received(server)).message), 'hello');
  const ms = performance.now() - began;
  assert.ok(ms > 4000, `100 failures within ${ms} ms`);
});

test('messages: the client waits for the target, and one that never comes costs a line', async () => {
  const { path, target, targetPath } = packetPair(['--dial-timeout', '60']);
  target.close();
  unlinkSync(targetPath);
  unixSocket('unixpacket').connect(path).send('early');
  await sleep(300);
  const again = unixSocket('unixpacket').bind(targetPath).listen();
  assert.is(String((await received(await accepted(again))).message), 'early');
  const other = packetPair(['--dial-timeout', '1']);
  other.target.close();
  unlinkSync(other.targetPath);
  const client = unixSocket('unixpacket').connect(other.path);
  assert.is((await received(client)).message.length, 0);
  await until(() => other.forwarder.log() !== '');
  assert.match(
    other.forwarder.log(),
    /^<4>link test: \/.*\.sock did not exist for 1 s \(ENOENT: [^)]+\); closed the client process \d+/,
  );
});

test.run();
