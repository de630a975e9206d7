import { once } from 'node:events';
import type net from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { listenRaw, play } from './forwarder-fidelity-run.ts';
import { createScript, describeScript } from './forwarder-fidelity-script.ts';
import {
  closeAll,
  collect,
  connect,
  hear,
  serve,
  sleep,
  until,
  wasReset,
  within,
} from './forwarder-launch.ts';
import { pausesOf, trace } from './forwarder-trace.ts';

/*
 * System calls fail, as they do on a machine without memory, descriptors or room in epoll (strace -e inject). Errors that
 * pass cost nobody anything: random scripts end as on a direct connection. What cannot be mended costs one connection, which
 * is reset, and no other.
 */

test.after.each(closeAll);

const MB = 1 << 20;

for (const [what, scripts, ...inject] of [
  ['interrupted', 60, 'splice:error=EINTR:when=2+3', 'epoll_wait:error=EINTR:when=5+3'],
  ['without memory to read or write', 30, 'splice:error=ENOMEM:when=3+11'],
  ['without buffers to read or write', 30, 'splice:error=ENOBUFS:when=4+13'],
  ['without memory for pipes', 60, 'pipe2:error=ENOMEM:when=5+2'],
  ['without buffers to accept clients', 8, 'accept4:error=ENOBUFS:when=2+4'],
  ['whose clients are gone when they are accepted', 60, 'accept4:error=ECONNABORTED:when=2+2'],
  ['without buffers for sockets to the target', 30, 'socket:error=ENOBUFS:when=4+3'],
  ['without a source port to the target', 30, 'connect:error=EADDRNOTAVAIL:when=2+3'],
  ['without memory to connect', 30, 'connect:error=ENOMEM:when=1+4'],
  ['without memory to look for urgent data', 60, 'recvfrom:error=ENOMEM:when=1+3'],
] as const) {
  test(`a forwarder ${what}: all sessions end as on a direct connection`, async () => {
    const target = listenRaw();
    const { forwarder, rounds } = await trace([], {
      to: target.port,
      args: ['--idle', '0', '--dial-timeout', '30'],
      inject: [...inject],
    });
    const seeds = Array.from({ length: scripts }, (_, i) => i + 1);
    const troubles = play(seeds.map(createScript), {
      port: forwarder.port,
      listener: target.fd,
      timeout: 60_000,
    });
    assert.equal(
      troubles.map(({ seed, what }) => `${what}: ${describeScript(createScript(seed))}`),
      [],
    );
    await until(() => forwarder.descriptors('socket') === 1);
    const failed = rounds()
      .flat()
      .filter(({ result, isInjected }) => isInjected && result === -1);
    assert.ok(failed.length > 0, 'no call was made to fail');
  });
}

for (const error of ['ENOSPC', 'ENOMEM']) {
  test(`${error} of epoll_ctl costs the connection that it meets, which is reset, and no other`, async () => {
    const target = listenRaw();
    const { forwarder, rounds } = await trace([], {
      to: target.port,
      args: ['--idle', '0'],
      // The first few are those of the start.
      inject: [`epoll_ctl:error=${error}:when=12+23`],
    });
    const seeds = Array.from({ length: 120 }, (_, i) => i + 1);
    const troubles = play(seeds.map(createScript), {
      port: forwarder.port,
      listener: target.fd,
      timeout: 20_000,
    });
    const failed = rounds()
      .flat()
      .filter(({ isInjected }) => isInjected);
    assert.ok(failed.length >= 5);
    assert.ok(troubles.length <= failed.length, `${troubles.length} of ${failed.length}`);
    for (const { seed, what } of troubles) {
      assert.match(what, /was reset|was never connected|acknowledged/, describeScript(createScript(seed)));
      assert.not.match(what, /saw an end that|before the last byte|wrong bytes|received more/);
    }
    await until(() => forwarder.descriptors('socket') === 1);
    // Both sides of one that failed see it at once, and the next client is served.
    await until(() => /does not watch/.test(forwarder.log()) || troubles.length === 0);
  });
}

/** The numbers of the calls of epoll_ctl(2) at the start: for the listening socket, and for Node's own epoll, which has the signals. */
async function numbersOfWatching(): Promise<{ listener: number; signals: number }> {
  const { forwarder, rounds } = await trace(['epoll_ctl'], { to: 1 });
  const calls = () =>
    rounds()
      .flat()
      .filter(({ name }) => name === 'epoll_ctl');
  const numberOf = (args: RegExp) => calls().findIndex((call) => args.test(call.args)) + 1;
  const listener = () => numberOf(/EPOLL_CTL_ADD, 3,/);
  // The forwarder's epoll, that of the listening socket, watches Node's.
  const signals = () =>
    calls().findIndex(({ fd }, at) => at >= listener() && fd === calls()[listener() - 1]?.fd) + 1;
  await until(() => listener() > 0 && signals() > 0);
  forwarder.kill('SIGKILL');
  return { listener: listener(), signals: signals() };
}

test('a listening socket that epoll refuses is watched a second later, and its clients are served', async () => {
  const { port } = await serve((socket) => socket.end('hello'));
  const { forwarder } = await trace([], {
    to: port,
    args: ['--idle', '0'],
    inject: [`epoll_ctl:error=ENOSPC:when=${(await numbersOfWatching()).listener}`],
  });
  assert.is(await hear(forwarder.port), 'hello');
  assert.match(forwarder.log(), /does not watch a listening socket \(ENOSPC: [^)]*\); new clients wait/);
});

test('of several listening sockets one that epoll refuses keeps nobody from being served at the others, and the loop does not spin', async () => {
  const { port } = await serve((socket) => socket.end('hello'));
  const { forwarder, rounds } = await trace([], {
    to: port,
    listeners: 2,
    args: ['--idle', '0'],
    // The client waits already when the forwarder begins to watch.
    before: 'sleep 1',
    inject: [`epoll_ctl:error=ENOSPC:when=${(await numbersOfWatching()).listener + 1}`],
  });
  const heard = forwarder.ports.map((one) => hear(one));
  assert.equal(await Promise.all(heard), ['hello', 'hello']);
  assert.match(forwarder.log(), /does not watch a listening socket \(ENOSPC/);
  const count = rounds().length;
  assert.ok(count < 100, `${count} rounds`);
});

test('a security module that forbids to accept (EPERM) does not make the loop spin, and clients are served when it permits it', async () => {
  const { port } = await serve((socket) => socket.end('hello'));
  // A loop that spins has made these attempts in no time.
  const { forwarder, rounds } = await trace([], {
    to: port,
    args: ['--idle', '0'],
    inject: ['accept4:error=EPERM:when=1..3'],
  });
  assert.is(await hear(forwarder.port), 'hello');
  assert.ok(pausesOf(rounds()) >= 3, `${pausesOf(rounds())} pauses`);
  assert.match(
    forwarder.log(),
    /no client could be accepted \(EPERM: [^)]*\) with 0 connected; new ones wait/,
  );
});

test('a kernel without memory for what a peer has room for (EAGAIN) makes the loop wait, and then every byte arrives', async () => {
  const sent = Buffer.alloc(2 * MB, 'abcdefg');
  const { port } = await serve((socket) => socket.once('data', () => socket.end(sent)));
  // The request takes two calls, and the answer is read with the third. All that follow write it.
  const { forwarder, rounds } = await trace([], {
    to: port,
    args: ['--idle', '0'],
    inject: ['splice:error=EAGAIN:when=4..10'],
  });
  const client = await connect(forwarder.port);
  client.write('send');
  const { bytes, how } = await collect(client);
  assert.is(how, 'end');
  assert.ok(bytes.equals(sent));
  const failed = rounds()
    .flat()
    .filter(({ isInjected }) => isInjected);
  assert.is(failed.length, 7);
  // The first makes the flow wait for room, which epoll says there is.
  assert.ok(pausesOf(rounds()) >= 5, `${pausesOf(rounds())} pauses`);
});

test('a kernel that refuses what the forwarder cannot do without: one line, status 71', async () => {
  for (const [inject, complaint] of [
    [
      `epoll_ctl:error=ENOSPC:when=${(await numbersOfWatching()).signals}`,
      'signals cannot be received: epoll_ctl failed (ENOSPC: no space left on device)',
    ],
    ['epoll_create1:error=EMFILE:when=3', 'epoll_create1 failed (EMFILE: too many open files)'],
  ] as const) {
    const { forwarder } = await trace([], { to: 1, inject: [inject] });
    assert.is(await within(60_000, forwarder.exited), 71);
    assert.is(forwarder.log(), `<3>link test: the forwarder cannot start: ${complaint}\n`);
  }
});

for (const [what, inject] of [
  ['splice', 'splice:error=ENOMEM:when=40..140'],
  ['splice to the receiver', 'splice:error=ENOBUFS:when=41..241+2'],
] as const) {
  test(`while ${what} fails the loop does not spin, and then every byte arrives`, async () => {
    const sent = Buffer.alloc(8 * MB, 'abcdefg');
    const { port } = await serve((socket) => socket.once('data', () => socket.end(sent)));
    const { forwarder, rounds } = await trace([], {
      to: port,
      args: ['--idle', '0'],
      inject: [inject],
    });
    const clients = await Promise.all(Array.from({ length: 4 }, () => connect(forwarder.port)));
    for (const client of clients) client.write('send');
    const received = clients.map((client) => collect(client));
    const countFailures = () =>
      rounds()
        .flat()
        .filter(({ isInjected }) => isInjected).length;
    // However long the forwarder takes to start: as many seconds as that would allow for all failures there are.
    let began = 0;
    await until(() => {
      const now = performance.now();
      if (countFailures() > 0) return true;
      began = now;
      return false;
    });
    await sleep(1000);
    const failures = countFailures();
    const seconds = (performance.now() - began) / 1000;
    // Four flows are tried four times a second. A loop that spins meets all hundred failures at once.
    assert.ok(failures <= 8 + 20 * seconds, `${failures} calls failed within ${seconds} s`);
    for (const { bytes, how } of await Promise.all(received)) {
      assert.is(how, 'end');
      assert.ok(bytes.equals(sent));
    }
  });
}

test('a defect ends the process with an error, and its sessions with a reset on both sides', async () => {
  let target: net.Socket | undefined;
  let atTarget: ReturnType<typeof collect> | undefined;
  const { port } = await serve((socket) => {
    target = socket;
    atTarget = collect(socket);
  });
  // epoll_wait(2) returns EINVAL for nothing that the forwarder does.
  const { forwarder } = await trace([], { to: port, inject: ['epoll_wait:error=EINVAL:when=6+'] });
  const client = await connect(forwarder.port);
  const atClient = collect(client);
  let isOver = false;
  atClient.then(() => {
    isOver = true;
  });
  // However late the forwarder starts, each of these is a round of its loop then.
  for (; !isOver; await sleep(50)) client.write('once more');
  await until(() => atTarget !== undefined);
  const [toClient, toTarget] = [(await atClient).how, (await atTarget)?.how ?? ''];
  assert.ok(await wasReset(client, toClient), `the client saw "${toClient}"`);
  assert.ok(await wasReset(target as net.Socket, toTarget), `the target saw "${toTarget}"`);
  assert.is.not(await within(60_000, forwarder.exited), 0);
  assert.match(forwarder.log(), /epoll_wait failed \(EINVAL/);
});

test('an error of splice that does not pass costs its connection only, and says so', async () => {
  const targets: net.Socket[] = [];
  const { port } = await serve((socket) => {
    targets.push(socket);
    socket.pipe(socket);
  });
  const { forwarder } = await trace([], {
    to: port,
    args: ['--idle', '0'],
    inject: ['splice:error=EINVAL:when=9'],
  });
  const [other, client] = [await connect(forwarder.port), await connect(forwarder.port)];
  const talk = async (socket: net.Socket): Promise<void> => {
    socket.write('ping');
    assert.is(String((await within(60_000, once(socket, 'data')))[0]), 'ping');
  };
  await talk(other);
  await talk(client);
  const atTarget = collect(targets[1] as net.Socket);
  client.write('the ninth call');
  assert.ok(await wasReset(client, (await collect(client)).how));
  await atTarget;
  await talk(other);
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /a client can no longer be reached \(EINVAL: [^)]*\); closed its connection to/,
  );
  await until(() => forwarder.descriptors('socket') === 3);
});

test.run();
