import { randomBytes } from 'node:crypto';
import type dgram from 'node:dgram';
import { once } from 'node:events';
import koffi from 'koffi';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  bind,
  closeAll,
  closedUdpPort,
  collect,
  connect,
  datagramDescriptorOf,
  type Forwarder,
  type LaunchOptions,
  launch,
  load,
  serve,
  sleep,
  undisturbed,
  until,
  within,
} from './forwarder-launch.ts';

/* Datagrams: the right answer to the right client, whatever they are, and nothing left after the timeout. */

const open = new Set<dgram.Socket>();

test.after.each(async () => {
  for (const socket of open) socket.close();
  open.clear();
  await closeAll();
});

const setsockopt = koffi.load(null).func('int setsockopt(int, int, int, void *, uint)');

interface Target {
  socket: dgram.Socket;
  port: number;
  /** What it has received. */
  received: Buffer[];
  /** Where each of that came from. */
  senders: number[];
}

/** A UDP server that sends back what `answer` makes of a datagram. */
async function target(
  answer: (message: Buffer) => Buffer | undefined = (message) => message,
  port = 0,
  host = '127.0.0.1',
): Promise<Target> {
  const socket = await bind(host, port);
  open.add(socket);
  const found: Target = { socket, port: socket.address().port, received: [], senders: [] };
  socket.on('error', () => {});
  socket.on('message', (message, from) => {
    found.received.push(message);
    found.senders.push(from.port);
    const reply = answer(message);
    if (reply !== undefined) socket.send(reply, from.port, from.address);
  });
  return found;
}

interface Client {
  socket: dgram.Socket;
  send(message: Buffer | string): void;
  /** The next datagram that arrives. */
  next(): Promise<Buffer>;
}

/** A client that is connected to a port, so that only what comes from there reaches it. */
async function client(
  port: number,
  host = '127.0.0.1',
  from = host.includes(':') ? '::1' : '127.0.0.1',
): Promise<Client> {
  const socket = await bind(from);
  open.add(socket);
  socket.on('error', () => {});
  socket.connect(port, host);
  await once(socket, 'connect');
  const waiting: Buffer[] = [];
  const takers: ((message: Buffer) => void)[] = [];
  socket.on('message', (message) => {
    const taker = takers.shift();
    if (taker) taker(message);
    else waiting.push(message);
  });
  return {
    socket,
    send: (message) => socket.send(message),
    next: () => {
      const first = waiting.shift();
      const coming = new Promise<Buffer>((resolve) => takers.push(resolve));
      return first ? Promise.resolve(first) : within(60_000, coming);
    },
  };
}

function launchUdp(
  to: number | string,
  args: string[] = [],
  options: LaunchOptions = {},
): Promise<Forwarder> {
  return launch({ to, listeners: 0, datagrams: 1, args: ['--idle', '0', ...args], ...options });
}

async function ask(from: Client, message: Buffer | string): Promise<Buffer> {
  from.send(message);
  return from.next();
}

test('datagrams of every size arrive and come back unchanged, the empty one too', async () => {
  const { port, received } = await target();
  const forwarder = await launchUdp(port);
  const one = await client(forwarder.port);
  for (const size of [1, 0, 2, 1400, 1472, 1473, 9000, 65_507, 0, 1]) {
    const message = randomBytes(size);
    assert.ok((await ask(one, message)).equals(message), `${size} bytes`);
    assert.ok(received.at(-1)?.equals(message));
  }
});

test('each client has a session with a port of its own, and gets its own answers', async () => {
  const { port, senders } = await target();
  const forwarder = await launchUdp(port);
  const clients = await Promise.all(Array.from({ length: 200 }, () => client(forwarder.port)));
  for (let turn = 0; turn < 3; turn++) {
    const answers = await Promise.all(clients.map((one, n) => ask(one, `${turn} ${n}`)));
    assert.equal(
      answers.map(String),
      clients.map((_, n) => `${turn} ${n}`),
    );
  }
  assert.is(new Set(senders).size, 200);
  assert.is(forwarder.descriptors('socket'), 201);
});

test('1,000 clients in turn, and nothing is left after the timeout', async () => {
  const { port } = await target();
  const forwarder = await launchUdp(port, ['--udp-timeout', '3']);
  for (let n = 0; n < 1000; n++) {
    const one = await client(forwarder.port);
    assert.is(String(await ask(one, `${n}`)), `${n}`);
    one.socket.close();
    open.delete(one.socket);
  }
  await until(() => forwarder.descriptors('socket') === 1);
  assert.is(forwarder.log(), '');
});

test('a session lasts while datagrams pass in either direction', () =>
  undisturbed(2000, async () => {
    let talk: NodeJS.Timeout | undefined;
    const server = await target(() => undefined);
    server.socket.on('message', (_, from) => {
      talk ??= setInterval(() => server.socket.send('news', from.port, from.address), 600);
    });
    try {
      const forwarder = await launchUdp(server.port, ['--udp-timeout', '3']);
      const one = await client(forwarder.port);
      one.send('subscribe');
      for (let n = 0; n < 8; n++) assert.is(String(await one.next()), 'news');
      assert.is(forwarder.descriptors('socket'), 2);
    } finally {
      clearInterval(talk);
    }
  }));

test('beyond the limit, the session that has been quiet the longest ends', async () => {
  const { port, senders } = await target();
  const forwarder = await launchUdp(port, ['--max-sessions', '3']);
  const clients = await Promise.all(Array.from({ length: 4 }, () => client(forwarder.port)));
  const [a, b, c, d] = clients as [Client, Client, Client, Client];
  for (const one of [a, b, c, a, d]) await ask(one, 'x');
  await until(() => forwarder.descriptors('socket') === 4);
  const ports = senders.slice();
  await ask(a, 'x');
  assert.is(senders.at(-1), ports[0], 'the first is still the same session');
  await ask(b, 'x');
  assert.is.not(senders.at(-1), ports[1], 'the second has a new one');
  assert.match(forwarder.log(), /3 clients have a session, which is the limit/);
});

test('a head on all addresses answers from the one that the client has called', async () => {
  const { port } = await target();
  const forwarder = await launchUdp(port, [], { host: '0.0.0.0' });
  for (const host of ['127.0.0.1', '127.0.0.5', '127.1.2.3']) {
    const one = await client(forwarder.port, host);
    assert.is(String(await ask(one, host)), host);
  }
  // The same client calls two of them: two sessions.
  const both = await bind('127.0.0.1');
  open.add(both);
  const heard: string[] = [];
  both.on('message', (message, from) => heard.push(`${message} from ${from.address}`));
  for (const host of ['127.0.0.6', '127.0.0.7']) both.send(host, forwarder.port, host);
  await until(() => heard.length === 2);
  assert.equal(heard.sort(), ['127.0.0.6 from 127.0.0.6', '127.0.0.7 from 127.0.0.7']);
});

test('IPv6, and IPv4 clients of a head on ::', async () => {
  const { port } = await target(undefined, 0, '::1');
  const forwarder = await launchUdp(`[::1]:${port}`, [], { host: '::' });
  for (const host of ['::1', '127.0.0.1', '127.0.0.9']) {
    const one = await client(forwarder.port, host);
    for (const message of ['a', 'b']) assert.is(String(await ask(one, message)), message);
  }
});

test('the first datagram waits for a target that is still starting', async () => {
  const port = await closedUdpPort();
  const forwarder = await launchUdp(port, ['--dial-timeout', '60']);
  const clients = await Promise.all(Array.from({ length: 20 }, () => client(forwarder.port)));
  for (const [n, one] of clients.entries()) one.send(`${n}`);
  await sleep(700);
  await target(undefined, port);
  for (const [n, one] of clients.entries()) assert.is(String(await one.next()), `${n}`);
  assert.is(forwarder.log(), '');
});

test('a target that never starts: one line, and no session is left', async () => {
  const port = await closedUdpPort();
  const forwarder = await launchUdp(port, ['--dial-timeout', '0.5']);
  const clients = await Promise.all(Array.from({ length: 5 }, () => client(forwarder.port)));
  for (const one of clients) one.send('hello');
  await until(() => forwarder.descriptors('socket') === 1 && forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /^<4>link test: 127\.0\.0\.1:\d+ refused datagrams for 0\.5 s \(ECONNREFUSED: connection refused\); dropped what 127\.0\.0\.1:\d+ has sent; its next datagram tries again\n$/,
  );
  assert.ok((await load(forwarder)) < 0.2);
});

test('a target that restarts is reached again by the same session', async () => {
  const first = await target(undefined, await closedUdpPort());
  const forwarder = await launchUdp(first.port);
  const one = await client(forwarder.port);
  await ask(one, 'a');
  first.socket.close();
  open.delete(first.socket);
  one.send('lost');
  await sleep(50);
  const second = await target(undefined, first.port);
  let answer = String(await ask(one, 'b'));
  // It is not lost if it reaches the forwarder late.
  if (answer === 'lost') answer = String(await one.next());
  assert.is(answer, 'b');
  assert.is(second.senders[0], first.senders[0]);
});

test('a client that is gone: its session ends, and the target is told by ICMP', async () => {
  const server = await target(() => undefined);
  const forwarder = await launchUdp(server.port);
  const one = await client(forwarder.port);
  one.send('hello');
  await until(() => server.received.length === 1);
  one.socket.close();
  open.delete(one.socket);
  const peer = await bind('127.0.0.1');
  open.add(peer);
  const errors: string[] = [];
  server.socket.send('anybody there?', server.senders[0] as number, '127.0.0.1');
  await until(() => forwarder.descriptors('socket') === 1);
  peer.on('error', ({ code }: NodeJS.ErrnoException) => errors.push(code ?? ''));
  peer.connect(server.senders[0] as number, '127.0.0.1');
  await once(peer, 'connect');
  peer.send('anybody there?');
  await until(() => errors.includes('ECONNREFUSED'));
});

test('--allow drops the datagrams of other machines', async () => {
  const { port, received } = await target();
  const forwarder = await launchUdp(port, ['--allow', '127.0.0.2'], { host: '0.0.0.0' });
  const stranger = await client(forwarder.port, '127.0.0.1');
  stranger.send('let me in');
  const friend = await client(forwarder.port, '127.0.0.1', '127.0.0.2');
  assert.is(String(await ask(friend, 'hello')), 'hello');
  assert.equal(received.map(String), ['hello']);
  assert.match(forwarder.log(), /dropped a datagram of 127\.0\.0\.1:\d+: this head serves 127\.0\.0\.2 only/);
});

test('--interface drops the datagrams that arrive by another one, and answers by that one', async () => {
  const { port, received } = await target();
  const through = await launchUdp(port, ['--allow', '127.0.0.1', '--interface', 'lo']);
  const one = await client(through.port);
  // What came before the forwarder has asked for it is without an interface; PassPacketInfo= of the socket unit asks earlier.
  const first = one.next();
  const again = setInterval(() => one.send('a'), 100);
  assert.is(String(await first), 'a');
  clearInterval(again);
  const elsewhere = await launchUdp(port, ['--allow', '127.0.0.1', '--interface', 'wh-none']);
  const other = await client(elsewhere.port);
  other.send('around the tunnel');
  await until(() =>
    /dropped a datagram of 127\.0\.0\.1:\d+: it has not come through interface wh-none/.test(elsewhere.log()),
  );
  assert.ok(received.every((message) => String(message) === 'a'));
});

test('datagrams that the kernel joins (GSO and GRO) arrive as they were sent', async () => {
  const { port, received } = await target();
  const forwarder = await launchUdp(port);
  const one = await client(forwarder.port);
  const [SOL_UDP, UDP_SEGMENT] = [17, 103];
  assert.is(
    setsockopt(datagramDescriptorOf(one.socket), SOL_UDP, UDP_SEGMENT, Buffer.from([0xb0, 4, 0, 0]), 4),
    0,
  );
  const size = 1200;
  const message = randomBytes(size * 20 + 77);
  one.send(message);
  const pieces = Array.from({ length: 21 }, (_, n) => message.subarray(n * size, (n + 1) * size));
  for (const piece of pieces) assert.ok((await one.next()).equals(piece));
  assert.equal(
    received.map(({ length }) => length),
    pieces.map(({ length }) => length),
  );
});

test('a client that floods does not keep another from being served', async () => {
  const { port } = await target((message) => (message.length < 100 ? message : undefined));
  const forwarder = await launchUdp(port);
  const noisy = await Promise.all(Array.from({ length: 4 }, () => client(forwarder.port)));
  const quiet = await client(forwarder.port);
  await ask(quiet, 'warm');
  let flooding = true;
  const flood = (async () => {
    const junk = Buffer.alloc(1000);
    while (flooding) {
      // Each is larger than the one before, so that no two are sent together: the forwarder has to be the one that is flooded.
      for (const one of noisy) for (let n = 0; n < 50; n++) one.send(junk.subarray(0, 900 + n));
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  const answered = new Set<string>();
  quiet.socket.on('message', (message) => answered.add(String(message)));
  let lost = 0;
  for (let n = 0; n < 100; n++) {
    for (let attempt = 0; attempt < 5 && !answered.has(`${n}`); attempt++) {
      if (attempt > 0) lost++;
      quiet.send(`${n}`);
      await until(() => answered.has(`${n}`), 1000).catch(() => {});
    }
  }
  flooding = false;
  await flood;
  const answers = [...answered].filter((answer) => answer !== 'warm').length;
  assert.ok(answers >= 99, `${answers} answers of 100`);
  // Where the forwarder gets no processor for a while, the flood fills its buffer.
  assert.ok(lost <= 10, `${lost} were lost`);
});

test('a burst of several clients that the buffers hold arrives whole', async () => {
  const server = await target(() => undefined);
  server.socket.setRecvBufferSize(4 << 20);
  const forwarder = await launchUdp(server.port);
  const clients = await Promise.all([client(forwarder.port), client(forwarder.port)]);
  for (const one of clients) one.send('warm');
  await until(() => server.received.length === 2);
  // A small datagram takes up some 800 bytes of the buffer, of which net.core.rmem_max allows 400 KB to 8 MB.
  const each = Math.min(2000, Math.floor(server.socket.getRecvBufferSize() / 800 / 3));
  forwarder.kill('SIGSTOP');
  for (let n = 0; n < each; n++) for (const [which, one] of clients.entries()) one.send(`${which} ${n}`);
  await sleep(100);
  forwarder.kill('SIGCONT');
  await until(() => server.received.length === 2 + 2 * each, 60_000).catch(() => {});
  for (const which of [0, 1]) {
    const arrived = server.received
      .slice(2)
      .map(String)
      .filter((text) => text.startsWith(`${which} `));
    assert.is(arrived.length, each);
    assert.ok(arrived.every((text, n) => text === `${which} ${n}`));
  }
});

/** A target of TCP, and one of UDP at the same port. */
async function bothTargets(): Promise<number> {
  for (;;) {
    // A port of TCP that the kernel has chosen may be taken for UDP.
    const port = await closedUdpPort();
    try {
      await serve((socket) => socket.end('tcp'), port);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      continue;
    }
    await target(() => Buffer.from('udp'), port);
    return port;
  }
}

test('TCP and UDP of one link share the target, the idle time and the process', () =>
  undisturbed(1500, async () => {
    const forwarder = await launch({
      to: await bothTargets(),
      datagrams: 1,
      args: ['--idle', '2', '--udp-timeout', '3'],
    });
    const [tcpPort = 0, udpPort = 0] = forwarder.ports;
    const one = await client(udpPort);
    assert.is(String(await ask(one, '?')), 'udp');
    const stream = await connect(tcpPort);
    stream.end();
    assert.is(String((await collect(stream)).bytes), 'tcp');
    await sleep(2500);
    assert.is(String(await ask(one, '?')), 'udp', 'a session of datagrams keeps it from being idle');
    assert.is(await within(60_000, forwarder.exited), 0);
  }));

test('a failing kernel call costs the datagram, not the process', async () => {
  const { port } = await target();
  const forwarder = await launchUdp(port, [], { before: 'ulimit -n 40' });
  const clients = await Promise.all(Array.from({ length: 60 }, () => client(forwarder.port)));
  let answers = 0;
  for (const { socket } of clients.slice(-3)) socket.on('message', () => answers++);
  for (const one of clients) one.send('x');
  await sleep(300);
  assert.ok((await load(forwarder)) < 0.5);
  await until(() => answers > 0);
});

test.run();
