import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  closeAll,
  collect,
  connect,
  deafTarget,
  freePort,
  hear,
  launch,
  load,
  serve,
  sleep,
  until,
  wasReset,
} from './forwarder-launch.ts';

test.after.each(closeAll);

test('a target that listens within the time serves the first client, with all it has said', async () => {
  const port = freePort();
  const forwarder = await launch({ to: port, args: ['--dial-timeout', '60'] });
  const client = await connect(forwarder.port);
  client.end('early');
  await sleep(700);
  await serve((socket) => socket.pipe(socket), port);
  const { bytes, how } = await collect(client);
  assert.is(String(bytes), 'early');
  assert.is(how, 'end');
  assert.is(forwarder.log(), '');
});

test('a target that never listens: the client is reset and one line says why', async () => {
  const port = freePort();
  const forwarder = await launch({ to: port, args: ['--dial-timeout', '2', '--place', 'container mysql'] });
  const start = performance.now();
  const client = await connect(forwarder.port);
  const { localPort } = client;
  client.write('hello?');
  const { how } = await collect(client);
  assert.ok(performance.now() - start > 1900);
  assert.ok(await wasReset(client, how));
  await until(() => forwarder.log() !== '');
  assert.is(
    forwarder.log(),
    `<4>link test: 127.0.0.1:${port} in container mysql refused for 2 s (ECONNREFUSED: connection refused); ` +
      `closed the client 127.0.0.1:${localPort}; the next connection tries again\n`,
  );
  await serve((socket) => socket.end('now'), port);
  assert.is(String((await collect(await connect(forwarder.port))).bytes), 'now');
});

test('many clients refused at once are one line, and a count when the link stops', async () => {
  const forwarder = await launch({ to: freePort(), args: ['--dial-timeout', '0.2'] });
  await Promise.all(Array.from({ length: 50 }, () => hear(forwarder.port)));
  await until(() => forwarder.descriptors('socket') === 1 && forwarder.log() !== '');
  assert.is(forwarder.log().match(/\n/g)?.length, 1);
  forwarder.kill('SIGTERM');
  assert.is(await forwarder.exited, 0);
  assert.match(forwarder.log(), /closed 49 more clients in the last 10 s\n$/);
});

test('to dial costs little processor time', async () => {
  const forwarder = await launch({ to: freePort(), args: ['--dial-timeout', '60'] });
  for (let i = 0; i < 20; i++) (await connect(forwarder.port)).write('x');
  await until(() => forwarder.descriptors('socket') >= 21);
  assert.ok((await load(forwarder)) < 0.3);
});

test('a client that resets while the target refuses is forgotten', async () => {
  const forwarder = await launch({ to: freePort(), args: ['--dial-timeout', '60'] });
  const client = await connect(forwarder.port);
  client.write('something');
  await until(() => forwarder.descriptors('socket') === 2);
  client.resetAndDestroy();
  await until(() => forwarder.descriptors('socket') === 1);
  assert.is(forwarder.log(), '');
});

test('a client that ends its half without a word while the target is starting is served when it listens', async () => {
  const port = freePort();
  const forwarder = await launch({ to: port, args: ['--dial-timeout', '60'] });
  const client = await connect(forwarder.port);
  client.end();
  await sleep(300);
  let said: ReturnType<typeof collect> | undefined;
  await serve((socket) => {
    said = collect(socket);
    said.then(() => socket.end('the time is now'));
  }, port);
  const { bytes, how } = await collect(client);
  assert.is(String(bytes), 'the time is now');
  assert.is(how, 'end');
  assert.equal(await said, { bytes: Buffer.alloc(0), how: 'end' });
  assert.is(forwarder.log(), '');
});

test('a client that ends its half without a word before a target that never listens is reset', async () => {
  const forwarder = await launch({ to: freePort(), args: ['--dial-timeout', '0.3'] });
  const client = await connect(forwarder.port);
  client.end();
  assert.ok(await wasReset(client, (await collect(client)).how));
  await until(() => forwarder.log() !== '');
  assert.match(forwarder.log(), /refused for 0.3 s/);
  await until(() => forwarder.descriptors('socket') === 1);
});

test('a target that drops the handshake is given up after the same time', async () => {
  const { port } = await deafTarget();
  const forwarder = await launch({ to: port, args: ['--dial-timeout', '0.6'] });
  const client = await connect(forwarder.port);
  client.end('hello?');
  await until(() => forwarder.log() !== '');
  assert.match(forwarder.log(), /did not answer for 0.6 s \(ETIMEDOUT: connection timed out\)/);
  await until(() => forwarder.descriptors('socket') === 1);
});

test('to wait for a target that drops the handshake costs no processor time', async () => {
  const { port } = await deafTarget();
  const forwarder = await launch({ to: port, args: ['--dial-timeout', '60'] });
  (await connect(forwarder.port)).end('hello?');
  await until(() => forwarder.descriptors('socket') === 3);
  assert.ok((await load(forwarder)) < 0.3);
  assert.is(forwarder.descriptors('socket'), 3);
});

test('a connection on which nobody speaks outlives the time to dial', async () => {
  const target = await serve((socket) => socket.pipe(socket));
  const forwarder = await launch({ to: target.port, args: ['--dial-timeout', '0.2'] });
  const client = await connect(forwarder.port);
  await sleep(500);
  client.end('at last');
  assert.is(String((await collect(client)).bytes), 'at last');
});

test('no route to the target is told in its own words', async () => {
  const forwarder = await launch({ to: '[100::1]:80', args: ['--dial-timeout', '0.2'] });
  assert.is(await hear(forwarder.port), 'reset');
  await until(() => forwarder.log() !== '');
  assert.match(forwarder.log(), /\[100::1\]:80 (could not be reached|did not answer) for 0.2 s \(E[A-Z]+: /);
});

test.run();
