import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type net from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { datagramSocket, FILLING } from './datagram-socket.ts';
import {
  closeAll,
  collect,
  connect,
  type Forwarder,
  freePort,
  launch,
  limitDescriptors,
  load,
  run,
  serve,
  sleep,
  undisturbed,
  until,
  within,
} from './forwarder-launch.ts';

test.after.each(closeAll);

async function echo(): Promise<number> {
  return (await serve((socket) => socket.pipe(socket))).port;
}

async function answers(client: net.Socket): Promise<void> {
  client.write('ping');
  assert.is(String((await within(60_000, once(client, 'data')))[0]), 'ping');
}

test('wrong calls say what is wrong and exit 2', async () => {
  for (const [args, complaint] of [
    [[], /--link is missing/],
    [['--link', 'x'], /--to is missing/],
    [['--link', 'x', '--to', 'nonsense'], /"nonsense" is not an address like/],
    [['--link', 'x', '--to', '127.0.0.1:0'], /"127.0.0.1:0" is not an address/],
    [['--link', 'x', '--to', '[127.0.0.1]:80'], /is not an address/],
    [['--link', 'x', '--to', '127.0.0.1:80', '--idle', 'soon'], /--idle "soon" is not a number/],
    [['--link', 'x', '--to', '127.0.0.1:80', '--wrong'], /--wrong/],
    [['--link', 'x', '--to', '127.0.0.1:80'], /no listening socket was passed \(LISTEN_FDS/],
  ] as [string[], RegExp][]) {
    const forwarder = run(args);
    assert.is(await forwarder.exited, 2);
    assert.match(forwarder.log(), complaint);
    assert.is(forwarder.log().match(/\n/g)?.length, 1);
  }
});

test('one that cannot start waits for a second, because systemd starts it again at once', async () => {
  const began = performance.now();
  const forwarder = run([], '', { env: { NOTIFY_SOCKET: '@nobody' } });
  assert.is(await forwarder.exited, 2);
  assert.ok(performance.now() - began >= 1000);
});

test('sockets that were passed to another process are left alone', async () => {
  const forwarder = await launch({ to: 1, before: 'export LISTEN_PID=1' });
  assert.is(await forwarder.exited, 2);
  assert.match(forwarder.log(), /LISTEN_PID/);
});

test('a descriptor that is no listening socket is refused', async () => {
  const forwarder = run(
    ['--link', 'x', '--to', '127.0.0.1:80'],
    'export LISTEN_FDS=1 LISTEN_PID=$$; exec 3</dev/null;',
  );
  assert.is(await forwarder.exited, 2);
  assert.match(forwarder.log(), /file descriptor 3 is neither a listening socket nor one for datagrams/);
});

test('SIGTERM and SIGINT end it at once, with status 0, idle or busy', async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    for (const busy of [false, true]) {
      const forwarder = await launch({ to: await echo(), args: ['--idle', '0'] });
      const client = await connect(forwarder.port);
      await answers(client);
      if (!busy) {
        client.destroy();
        await until(() => forwarder.descriptors('socket') === 1);
      }
      forwarder.kill(signal);
      assert.is(await within(60_000, forwarder.exited), 0);
      assert.is(forwarder.log(), busy ? `<6>link test: stopped by ${signal}; reset 1 open session\n` : '');
    }
  }
});

test('SIGTERM is taken whichever thread the kernel chooses', async () => {
  for (let i = 0; i < 10; i++) {
    const forwarder = await launch({ to: await echo() });
    await answers(await connect(forwarder.port));
    forwarder.kill('SIGTERM');
    assert.is(await within(60_000, forwarder.exited), 0);
  }
});

test('it exits when it was idle long enough, and not while a client is connected', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0.5'] });
  const client = await connect(forwarder.port);
  await answers(client);
  await sleep(800);
  await answers(client);
  const start = performance.now();
  client.destroy();
  assert.is(await within(60_000, forwarder.exited), 0);
  assert.ok(performance.now() - start > 450);
  assert.is(forwarder.log(), '');
});

test('clients that come and go keep it from being idle', () =>
  undisturbed(1500, async () => {
    const forwarder = await launch({ to: await echo(), args: ['--idle', '3'] });
    for (const began = performance.now(); performance.now() - began < 3500; await sleep(300)) {
      const client = await connect(forwarder.port);
      await answers(client);
      client.destroy();
    }
    assert.is(await within(60_000, forwarder.exited), 0);
  }));

test('without descriptors left it waits without a spin, says so once, and goes on', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0'] });
  const first = await connect(forwarder.port);
  await answers(first);
  limitDescriptors(forwarder, 8);
  const second = await connect(forwarder.port);
  await until(() => forwarder.log() !== '');
  assert.is(
    forwarder.log(),
    '<4>link test: no client could be accepted (EMFILE: too many open files) with 1 connected; new ones wait ' +
      'until one leaves, or 1 s\n',
  );
  assert.ok((await load(forwarder)) < 0.3);
  await answers(first);
  limitDescriptors(forwarder, 1000);
  await answers(second);
  assert.is(forwarder.log().match(/\n/g)?.length, 1);
});

test('when the kernel gives no new pipe, bytes wait in their sockets and no direction is forgotten', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0'] });
  const clients = await Promise.all(Array.from({ length: 10 }, () => connect(forwarder.port)));
  await until(() => forwarder.descriptors('socket') === 21);
  const pipes = forwarder.descriptors('pipe');
  limitDescriptors(forwarder, 8);
  const sent = Buffer.alloc(8_000_000, 'abcdefg');
  for (const client of clients) client.pause().end(sent);
  await sleep(500);
  assert.ok((await load(forwarder)) < 0.3);
  assert.is(forwarder.descriptors('pipe'), pipes);
  limitDescriptors(forwarder, 1000);
  for (const client of clients) assert.ok((await collect(client)).bytes.equals(sent));
});

test('it takes no more clients than its descriptors serve for certain; the others wait their turn', async () => {
  const began = performance.now();
  const forwarder = await launch({ to: await echo(), before: 'ulimit -n 64', args: ['--idle', '0'] });
  const eight = () => Promise.all(Array.from({ length: 8 }, () => connect(forwarder.port)));
  const first = await eight();
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /^<4>link test: 4 clients are connected, which is as many as --max-connections and LimitNOFILE= allow; more/,
  );
  // That may take longer than a client waits at most.
  assert.ok((await load(forwarder)) < 0.3);
  for (const client of first) client.destroy();
  await until(() => forwarder.descriptors('socket') === 1);
  for (const client of await eight()) {
    await answers(client);
    client.end();
    await collect(client);
  }
  const lines = forwarder.log().trim().split('\n');
  const told = lines.filter((line) => !/refused 127|in the last 10 s/.test(line)).length;
  // After 10 s without another such client, it is told again.
  assert.ok(told <= 1 + Math.floor((performance.now() - began) / 10_000), forwarder.log());
});

test('systemd hears READY, STATUS, WATCHDOG and STOPPING', async () => {
  const bus = datagramSocket();
  const began = performance.now();
  const forwarder = await launch({
    to: await echo(),
    args: ['--idle', '3'],
    env: { NOTIFY_SOCKET: bus.path, WATCHDOG_USEC: '400000' },
  });
  try {
    await until(() => bus.heard().includes('READY=1'));
    const client = await connect(forwarder.port);
    await answers(client);
    await until(() => bus.heard().includes('STATUS=1 open, 1 served, 8 B'));
    client.destroy();
    await until(() => bus.heard().includes('STATUS=0 open, 1 served, 8 B'));
    assert.is(await within(60_000, forwarder.exited), 0);
    const heard = bus.heard();
    assert.ok(heard.filter((state) => state === 'WATCHDOG=1').length >= 5);
    // Once a second at most, and only when it is another one.
    const told = heard.filter((state) => state.startsWith('STATUS='));
    assert.ok(told.length <= 1 + (performance.now() - began) / 1000, told.join());
    assert.ok(
      told.every((state, at) => state !== told[at - 1]),
      told.join(),
    );
    assert.is(heard.at(-1), 'STOPPING=1\nSTATUS=idle for 3 s');
  } finally {
    bus.close();
  }
});

/** How often a process has waited for something. */
function waits({ pid }: Forwarder): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1]);
}

test('a full queue of systemd stops nothing, and what did not fit is sent as soon as there is room', async () => {
  const bus = datagramSocket();
  // WATCHDOG=1 is due every 100 s: one that is lost would not be made up for within this test.
  const env = { NOTIFY_SOCKET: bus.path, WATCHDOG_USEC: '200000000' };
  try {
    const filling = bus.fill();
    const forwarder = await launch({ to: await echo(), args: ['--idle', '0'], env });
    await answers(await connect(forwarder.port));
    await answers(await connect(forwarder.port));
    // Its state is sent once a second at most. It tries again every 50 ms, by its own clock, however little processor it gets.
    const before = waits(forwarder);
    await until(() => waits(forwarder) >= before + 60);
    // No more is taken than has filled the queue. As soon as there is room, the forwarder uses it.
    for (let n = 0; n < filling; n++) assert.is(bus.next(), FILLING);
    const sent = (): string[] => bus.heard().filter((state) => state !== FILLING);
    await until(() => sent().length >= 3);
    // Of several states of one name only the last is of interest.
    assert.equal(sent().slice(0, 3).sort(), ['READY=1', 'STATUS=2 open, 2 served, 16 B', 'WATCHDOG=1']);
  } finally {
    bus.close();
  }
});

test('another process watchdog is not fed, and an abstract notify socket works', async () => {
  const bus = datagramSocket(`@wormhole-test-${process.pid}`);
  const forwarder = await launch({
    to: freePort(),
    env: { NOTIFY_SOCKET: bus.path, WATCHDOG_USEC: '100000', WATCHDOG_PID: '1' },
  });
  try {
    await until(() => bus.heard().includes('READY=1'));
    await sleep(300);
    assert.not(bus.heard().includes('WATCHDOG=1'));
    forwarder.kill('SIGTERM');
    await forwarder.exited;
    assert.is(bus.heard().at(-1), 'STOPPING=1\nSTATUS=SIGTERM');
  } finally {
    bus.close();
  }
});

test('a dead reader of standard error does not end the relay', async () => {
  const forwarder = await launch({
    to: freePort(),
    before: 'exec 2>&-; exec 2>/dev/full',
    args: ['--dial-timeout', '0.1'],
  });
  await collect(await connect(forwarder.port));
  await collect(await connect(forwarder.port));
  forwarder.kill('SIGTERM');
  assert.is(await forwarder.exited, 0);
});

test.run();
