import { once } from 'node:events';
import type net from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, connect, serve, until, within } from './forwarder-launch.ts';
import { type SystemCall, trace } from './forwarder-trace.ts';

/* What a connection and a request cost: system calls, which are the same on every machine, busy or not. */

test.after.each(closeAll);

/** A server on a port from which the kernel takes no source ports: there, a dial cannot meet itself. */
async function serveOutsideSourcePorts(serveOne: (socket: net.Socket) => void): Promise<number> {
  for (let attempts = 1; ; attempts++) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    try {
      return (await serve(serveOne, port)).port;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || attempts === 20) throw error;
    }
  }
}

/** The system calls of each connection of `requests` requests, when connections come one after the other. */
async function callsOf(port: number, requests: number): Promise<SystemCall[][]> {
  const { forwarder, rounds } = await trace([], { to: port, args: ['--idle', '0'] });
  for (let i = 0; i < 12; i++) {
    const client = await connect(forwarder.port);
    for (let request = 0; request < requests; request++) {
      client.write('ping');
      await within(60_000, once(client, 'data'));
    }
    client.end();
    await within(60_000, once(client, 'end'));
    await until(() => forwarder.descriptors('socket') === 1);
  }
  const calls: SystemCall[][] = [];
  let previous: SystemCall | undefined;
  for (const call of rounds().flat()) {
    // The wait that ends with a new client belongs to its connection.
    if (call.name === 'accept4' && call.result >= 0) calls.push(previous === undefined ? [] : [previous]);
    else if (previous !== undefined) calls.at(-1)?.push(previous);
    previous = call;
  }
  forwarder.kill('SIGKILL');
  await forwarder.exited;
  // The first ones may have come before the listening socket had its options; behind the last one, the process waits.
  return calls.slice(4, -1);
}

/** The smallest of several counts: whatever else happens in the process now and then only adds to them. */
function fewest(calls: SystemCall[][]): { count: number; story: string } {
  const least = calls.sort((a, b) => a.length - b.length)[0] as SystemCall[];
  return { count: least.length, story: least.map(({ name }) => name).join(' ') };
}

const echo = (socket: net.Socket): void => {
  socket.setNoDelay(true);
  socket.pipe(socket);
};

test('a connection with one request costs 22 system calls, and 6 more each further one', async () => {
  const port = await serveOutsideSourcePorts(echo);
  const one = fewest(await callsOf(port, 1));
  assert.ok(one.count <= 22, `${one.count}: ${one.story}`);
  assert.ok(one.count > 15, `the test has lost sight of the calls: ${one.story}`);
  // The second request also brings the options of a stream to the target: two calls, and one when it is closed.
  const [two, twelve] = [fewest(await callsOf(port, 2)), fewest(await callsOf(port, 12))];
  assert.ok(two.count <= one.count + 9, `${two.count}: ${two.story}`);
  assert.ok(
    twelve.count <= two.count + 60,
    `${twelve.count} for 12 requests, ${two.count} for 2: ${twelve.story}`,
  );
});

test("small messages are not held back for an acknowledgement: Nagle's algorithm is off from the second write on", async () => {
  const { port } = await serve(echo);
  const calls = (await callsOf(port, 3))[0] as SystemCall[];
  const target = calls.find(({ name }) => name === 'socket')?.result;
  assert.type(target, 'number');
  const atTarget = calls.filter(({ name, fd, args }) =>
    name === 'splice' ? args.startsWith(`, NULL, ${target}, NULL`) : name === 'setsockopt' && fd === target,
  );
  const kinds = atTarget.map(({ name, args }) =>
    name === 'splice' ? 'write' : /TCP_\w+|SO_\w+/.exec(args)?.[0],
  );
  const [first, option] = [kinds.indexOf('write'), kinds.indexOf('TCP_NODELAY')];
  assert.ok(first >= 0 && first < option && option < kinds.indexOf('write', first + 1), kinds.join(' '));
  // A client has it from its listening socket.
  assert.is(calls.filter(({ args }) => args.includes('TCP_NODELAY')).length, 1);
});

test('a port from which the kernel also takes source ports costs one more', async () => {
  const { port } = await serve(echo);
  const { count, story } = fewest(await callsOf(port, 1));
  assert.ok(count <= 23, `${count}: ${story}`);
});

test.run();
