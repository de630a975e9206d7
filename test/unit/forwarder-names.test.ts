import dgram from 'node:dgram';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import net from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { programs } from '../programs.ts';
import {
  bind,
  closeAll,
  closedUdpPort,
  collect,
  connect,
  deafTarget,
  freePort,
  hear,
  limitDescriptors,
  serve,
  sleep,
  until,
  wasReset,
} from './forwarder-launch.ts';
import { closeHelpers, fileOf, helper, launchNamed } from './name-helper.ts';

/* A target that has a name: its addresses are read from a file, which a helper keeps. Here the test is that helper. */

const datagrams = new Set<dgram.Socket>();

test.after.each(async () => {
  closeHelpers();
  for (const socket of datagrams) socket.close();
  datagrams.clear();
  await closeAll();
});

async function greeter(word: string, host = '127.0.0.1'): Promise<string> {
  const { port } = await serve((socket) => socket.end(word), 0, host);
  return net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

test('the addresses that are known are used, and nobody is asked while they are valid', async () => {
  const at = await helper({ addresses: [await greeter('hello')] });
  const forwarder = await launchNamed(at);
  assert.is(await hear(forwarder.port), 'hello');
  assert.is(await hear(forwarder.port), 'hello');
  assert.is(at.count(), 0);
  assert.is(forwarder.log(), '');
});

test('an address that refuses costs no client: the next one serves, of either family, and is tried first from then on', async () => {
  for (const live of [await greeter('six', '::1'), await greeter('four')]) {
    const dead = live.startsWith('[') ? `127.0.0.1:${freePort()}` : `[::1]:${freePort()}`;
    const at = await helper({ addresses: [dead, live] });
    const forwarder = await launchNamed(at);
    const word = live.startsWith('[') ? 'six' : 'four';
    for (let n = 0; n < 3; n++) assert.is(await hear(forwarder.port), word);
    await until(() => forwarder.log() !== '');
    assert.is(
      forwarder.log().trim(),
      `<4>link test: db.example:5432: ${dead} does not accept; for 60 s its other addresses are tried first`,
    );
    assert.is(at.count(), 0, 'a working address is no reason to ask');
  }
});

test('a machine without descriptors left says nothing about the addresses, and serves the client once it has some', async () => {
  const at = await helper({ addresses: [await greeter('one'), await greeter('two')] });
  const forwarder = await launchNamed(at, ['--dial-timeout', '20']);
  assert.is(await hear(forwarder.port), 'one');
  const used = new Set(readdirSync(`/proc/${forwarder.pid}/fd`).map(Number));
  let free = 3;
  while (used.has(free)) free++;
  // The client gets the only one.
  limitDescriptors(forwarder, free + 1);
  const heard = hear(forwarder.port);
  await sleep(1000);
  limitDescriptors(forwarder, 1000);
  assert.is(await heard, 'one');
  assert.not.match(forwarder.log(), /does not accept/);
  assert.is(await hear(forwarder.port), 'one');
});

test('addresses that hang do not hold a client up: the others are tried meanwhile', async () => {
  const deaf = [`127.0.0.1:${(await deafTarget()).port}`, `127.0.0.1:${(await deafTarget()).port}`];
  const at = await helper({ addresses: [...deaf, await greeter('third')] });
  const forwarder = await launchNamed(at, ['--dial-timeout', '60']);
  const client = await connect(forwarder.port);
  client.end('said early');
  assert.is(String((await collect(client)).bytes), 'third');
  assert.is(at.count(), 0, 'it was served before the name would have been looked up again');
  await until(() => forwarder.descriptors('socket') === 1);
});

test('a client that goes away while several addresses are tried leaves no descriptor', async () => {
  const deaf = [`127.0.0.1:${(await deafTarget()).port}`, `127.0.0.1:${(await deafTarget()).port}`];
  const at = await helper({ addresses: deaf });
  const forwarder = await launchNamed(at, ['--dial-timeout', '60']);
  const client = await connect(forwarder.port);
  await until(() => forwarder.descriptors('socket') >= 4);
  client.resetAndDestroy();
  await until(() => {
    // A question is a descriptor too.
    at.answer(fileOf({ addresses: deaf }));
    return forwarder.descriptors('socket') === 1;
  });
  assert.is(forwarder.log(), '');
});

test('when the TTL has run out, the next client waits for the answer, and never sees the old address', async () => {
  let old = 0;
  const { port } = await serve((socket) => {
    old += 1;
    socket.end('old');
  });
  // The time to live begins when the first client has come, not before the forwarder has started.
  const at = await helper({ addresses: [`127.0.0.1:${port}`], ttl: -1000 });
  const forwarder = await launchNamed(at, ['--dial-timeout', '60']);
  const first = hear(forwarder.port);
  await until(() => at.count() === 1);
  at.answer(fileOf({ addresses: [`127.0.0.1:${port}`], ttl: 3000 }));
  assert.is(await first, 'old');
  await sleep(3100);
  const client = await connect(forwarder.port);
  client.end();
  await until(() => at.count() === 2);
  at.answer(fileOf({ addresses: [await greeter('new')] }));
  assert.is(String((await collect(client)).bytes), 'new');
  assert.is(await hear(forwarder.port), 'new');
  assert.is(old, 1);
  assert.is(at.count(), 2);
  assert.is(forwarder.log(), '');
});

test('a helper that does not answer holds nobody up for ever: the addresses known before are used', async () => {
  const at = await helper({ addresses: [await greeter('old')], ttl: -1000 });
  const forwarder = await launchNamed(at, ['--dial-timeout', '60']);
  assert.is(await hear(forwarder.port), 'old');
  assert.is(at.count(), 1);
});

test('addresses that could not be looked up again stay in use, and clients do not wait for the next lookup', async () => {
  const at = await helper({
    addresses: [await greeter('stays')],
    ttl: -1000,
    problem: 'no DNS server answers',
  });
  const forwarder = await launchNamed(at);
  assert.is(await hear(forwarder.port), 'stays');
  await until(() => at.count() === 1);
  assert.is(await hear(forwarder.port), 'stays');
  assert.is(forwarder.log(), '');
});

test('a name that appears while clients wait serves them, with all they have said', async () => {
  const at = await helper();
  const { port } = await serve((socket) => socket.pipe(socket));
  const forwarder = await launchNamed(at, ['--dial-timeout', '60']);
  const client = await connect(forwarder.port);
  client.end('early');
  await until(() => at.count() === 1);
  at.answer(fileOf({ addresses: [], ttl: 1000, problem: 'NXDOMAIN' }));
  await until(() => at.count() === 2);
  at.answer(fileOf({ addresses: [`127.0.0.1:${port}`] }));
  assert.is(String((await collect(client)).bytes), 'early');
});

test('a name without an address costs the clients, and the line says why', async () => {
  const problem = 'db.example does not exist: NXDOMAIN (asked 10.90.0.2)';
  const at = await helper({ addresses: [], ttl: 3_600_000, problem });
  const forwarder = await launchNamed(at, ['--dial-timeout', '1']);
  const client = await connect(forwarder.port);
  const { how } = await collect(client);
  assert.ok(await wasReset(client, how));
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /^<4>link test: no address of db\.example:5432 on this host is known: db\.example does not exist: NXDOMAIN \(asked 10\.90\.0\.2\) for 1 s \(EDESTADDRREQ: .*\); closed the client 127\.0\.0\.1:\d+; the next connection tries again$/m,
  );
  assert.ok(at.count() > 0);
});

test('addresses that all fail are looked up, and a client whose attempt hangs goes to the new one', async () => {
  const deaf = `127.0.0.1:${(await deafTarget()).port}`;
  const at = await helper({ addresses: [`127.0.0.1:${freePort()}`, deaf] });
  const forwarder = await launchNamed(at, ['--dial-timeout', '60']);
  const client = await connect(forwarder.port);
  client.end();
  await until(() => at.count() === 1);
  at.answer(fileOf({ addresses: [await greeter('moved')] }));
  assert.is(String((await collect(client)).bytes), 'moved');
});

test('an address that begins to accept while another hangs serves the clients that wait', async () => {
  const port = freePort();
  const at = await helper({ addresses: [`127.0.0.1:${(await deafTarget()).port}`, `127.0.0.1:${port}`] });
  const forwarder = await launchNamed(at, ['--dial-timeout', '60']);
  const client = await connect(forwarder.port);
  client.end('early');
  await until(() => forwarder.log() !== '');
  await serve((socket) => socket.pipe(socket), port);
  assert.is(String((await collect(client)).bytes), 'early');
});

test('clients that are stored, by a forwarder that is killed, are served by the address that comes to accept', async () => {
  const port = freePort();
  const dead = [`127.0.0.1:${(await deafTarget()).port}`, `[::1]:${freePort()}`];
  const at = await helper({ addresses: [...dead, `127.0.0.1:${port}`] });
  const forwarder = await launchNamed(at, ['--dial-timeout', '300', '--idle', '0'], {
    command: [process.execPath, '--import', 'tsx', new URL('service-manager.ts', import.meta.url).pathname],
    env: { KILLS: '1', SEED: '7', AGE: '1300', BEGIN: 'FDSTORE', PROGRAM: programs.forwarder },
  });
  const clients = await Promise.all(Array.from({ length: 5 }, () => connect(forwarder.port)));
  for (const client of clients) client.end('early');
  await until(() => /took over 5 open sessions/.test(forwarder.log()));
  await sleep(1000);
  await serve((socket) => socket.pipe(socket), port);
  for (const client of clients) {
    const { bytes, how } = await collect(client);
    assert.is(String(bytes), 'early', `${how}: ${forwarder.log()}`);
  }
});

test('a file that is being written, empty or senseless is no address, and a senseless one is logged', async () => {
  const at = await helper();
  const forwarder = await launchNamed(at, ['--dial-timeout', '60']);
  const client = await connect(forwarder.port);
  client.end();
  const texts = [
    '',
    'wormhole name 1\naddress 127.0.0.1:1\n',
    'something else\n',
    'wormhole name 1\nname db.example:5432\naddress elsewhere\nend\n',
    'wormhole name 1\nname other:5432\naddress 127.0.0.1:1\nend\n',
  ];
  for (const [n, text] of texts.entries()) {
    await until(() => at.count() === n + 1);
    at.answer(text);
  }
  await until(() => at.count() === 6);
  at.answer(fileOf({ addresses: [await greeter('found')] }));
  assert.is(String((await collect(client)).bytes), 'found');
  assert.match(
    forwarder.log(),
    /^<4>link test: the addresses in \S+ are of no use: it begins with "something else"$/m,
  );
});

test('a session of datagrams uses the first address that does not refuse, and follows a name that has moved', async () => {
  const answering = async (word: string): Promise<string> => {
    const socket = await bind('127.0.0.1');
    datagrams.add(socket);
    socket.on('message', (_, { port, address }) => socket.send(word, port, address));
    return `127.0.0.1:${socket.address().port}`;
  };
  const ask = async (port: number): Promise<string> => {
    const socket = dgram.createSocket('udp4');
    datagrams.add(socket);
    socket.send('hello', port, '127.0.0.1');
    const [message] = await once(socket, 'message');
    return String(message);
  };
  const addresses = [`127.0.0.1:${await closedUdpPort()}`, await answering('second')];
  const at = await helper({ addresses, ttl: -1000 });
  const forwarder = await launchNamed(at, ['--dial-timeout', '60'], { listeners: 0, datagrams: 1 });
  const first = ask(forwarder.port);
  await until(() => at.count() === 1);
  at.answer(fileOf({ addresses, ttl: 3000 }));
  assert.is(await first, 'second');
  assert.is(await ask(forwarder.port), 'second');
  await sleep(3100);
  const answer = ask(forwarder.port);
  await until(() => at.count() >= 2);
  at.answer(fileOf({ addresses: [await answering('moved')] }));
  assert.is(await answer, 'moved');
});

test.run();
