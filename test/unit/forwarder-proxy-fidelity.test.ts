import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { addressText } from '../../src/forwarder/address.ts';
import { type Endpoint, endpointOf } from '../../src/forwarder/proxy-protocol/endpoints.ts';
import { formatHeader } from '../../src/forwarder/proxy-protocol/format.ts';
import { parseHeader } from '../../src/forwarder/proxy-protocol/parse.ts';
import {
  E,
  errno,
  getsockname,
  MSG_DONTWAIT,
  pinned,
  poll,
  recv,
  write,
} from '../../src/forwarder/syscalls.ts';
import { inLine, listenRaw, type PlayOptions, play } from './forwarder-fidelity-run.ts';
import { createScript, describeScript, type Script } from './forwarder-fidelity-script.ts';
import { launchKilled } from './forwarder-killed.ts';
import {
  closeAll,
  collect,
  connect,
  type Forwarder,
  freePort,
  launch,
  serve,
  sleep,
  until,
} from './forwarder-launch.ts';

/*
 * A connection with PROXY headers ends as a direct one: random scripts of clients that may send a header first, and of targets
 * that take one from the stream, each exactly once and in front of everything.
 *
 *   WORMHOLE_FIDELITY=SEED        plays the script of this seed only
 *   WORMHOLE_FIDELITY=SEED:COUNT  plays the scripts of the seeds SEED, SEED + 1, …, all at once
 */

test.after.each(closeAll);

const [seed = Date.now() % 1_000_000_000, given] = (process.env.WORMHOLE_FIDELITY ?? '')
  .split(':')
  .filter(Boolean)
  .map(Number);
const count = given ?? (process.env.WORMHOLE_FIDELITY === undefined ? 300 : 1);
const scripts = Array.from({ length: count }, (_, i) => createScript(seed + i));

/** Fewer are played while the forwarder is killed, since all have to be connected and stored before that begins. */
const KILLED_AT_ONCE = 150;

/** Sessions of this age are stored, ms. */
const STORED_MS = 3000;

/** On a busy machine every kill may come early, and after 20 early ones in a row the forwarder resets its sessions. */
const KILLS = 18;

const room = pinned(64);
const size = pinned(4);

/** The size of a header of version 2 for IPv4. */
const HEADER = 28;

/** The address of a client's socket. */
function addressOf(fd: number): Endpoint | undefined {
  size.words[0] = 28;
  return getsockname(fd, room.address, size.address) < 0 ? undefined : endpointOf(Buffer.from(room.bytes));
}

/** Takes a header from the target's socket, and returns whom it names; errno if the connection ends before that. */
function takeHeader(target: number): Endpoint | number {
  let header = Buffer.alloc(0);
  for (const end = Date.now() + 30_000; header.length < HEADER; ) {
    const count = recv(target, room.address, HEADER - header.length, MSG_DONTWAIT);
    const failure = count < 0 ? errno() : 0;
    if (count === 0) throw new Error(`the stream ends in its header, after ${header.length} bytes`);
    if (failure !== 0 && failure !== E.EAGAIN) return failure;
    if (count > 0) header = Buffer.concat([header, room.bytes.subarray(0, count)]);
    else poll(0, 0, 1);
    if (Date.now() > end) throw new Error(`no header: ${header.length} bytes after 30 s`);
  }
  const parsed = parseHeader(header);
  if (parsed.kind !== 'complete' || parsed.endpoints === undefined)
    throw new Error(`no header, but ${header.toString('hex')}`);
  return parsed.endpoints.source;
}

function strip(named: (client: number) => Endpoint | undefined): NonNullable<PlayOptions['strip']> {
  return (target, client) => {
    const source = takeHeader(target);
    if (typeof source === 'number') return source;
    const expected = named(client);
    if (expected && !expected.equals(source))
      throw new Error(`the header names ${addressText(source)}, not ${addressText(expected)}`);
    return 0;
  };
}

/** Sends a header for a client at the port of this one, of another address. */
function greet(client: number): void {
  const header = formatHeader('v2', announced(client));
  room.bytes.set(header);
  if (write(client, room.address, header.length) !== header.length) throw new Error('no header was sent');
}

function announced(client: number) {
  const source = addressOf(client);
  if (!source) throw new Error('a client has no address');
  source.set([203, 0, 113, 7], 20);
  return { source, destination: source };
}

const kinds: { name: string; args: string[]; hooks: Pick<PlayOptions, 'greet' | 'strip'> }[] = [
  {
    name: 'a header for the target',
    args: ['--proxy-protocol', 'v2'],
    hooks: { strip: strip((client) => (client < 0 ? undefined : addressOf(client))) },
  },
  {
    name: 'a header from the client',
    args: ['--accept-proxy-protocol', '127.0.0.0/8'],
    hooks: { greet },
  },
  {
    name: 'a header from the client, and one for the target',
    args: ['--accept-proxy-protocol', '127.0.0.0/8', '--proxy-protocol', 'v2'],
    hooks: { greet, strip: strip((client) => (client < 0 ? undefined : announced(client).source)) },
  },
];

async function assertNone(scripts: Script[], options: PlayOptions, forwarder: Forwarder): Promise<void> {
  const troubles = play(scripts, options);
  // The log of the forwarder arrives once play() has returned.
  await sleep(100);
  const stories = troubles.map(
    ({ seed, what }) => `${what}\n  ${describeScript(createScript(seed))}\n  WORMHOLE_FIDELITY=${seed}`,
  );
  assert.is(troubles.length, 0, `${forwarder.log()}${stories.slice(0, 10).join('\n')}`);
}

for (const { name, args, hooks } of kinds) {
  test(`${count} random scripts from seed ${seed} end as TCP promises: ${name}`, async () => {
    const listener = listenRaw();
    const forwarder = await launch({ to: listener.port, args: ['--idle', '0', ...args], prepare: inLine });
    const target = { listener: listener.fd, port: forwarder.port, timeout: 30_000 };
    await assertNone(scripts, { ...target, ...hooks }, forwarder);
    await until(() => forwarder.descriptors('socket') === 1);
    assert.is(forwarder.log(), '');
  });
}

for (const { name, args, hooks } of kinds) {
  test(`the same while the forwarder is killed ${KILLS} times: ${name}`, async () => {
    const listener = listenRaw();
    const forwarder = await launchKilled(listener.port, {
      ...{ args, seed, kills: KILLS },
      ...{ begin: 'SIGUSR2', age: STORED_MS },
    });
    const target = { listener: listener.fd, port: forwarder.port, timeout: 120_000 };
    const begun = () => forwarder.kill('SIGUSR2');
    const options = { ...target, ...hooks, begun, age: STORED_MS + 500, pause: 1000 };
    await assertNone(scripts.slice(0, KILLED_AT_ONCE), options, forwarder);
    await until(() => forwarder.log().includes('took over'));
    forwarder.kill('SIGTERM');
    assert.is(await forwarder.exited, 0, forwarder.log());
    assert.match(forwarder.log(), /killed \d+ times, 0 descriptors in the store/);
    assert.not.match(forwarder.log(), /cannot|died/);
  });
}

for (const { name, greeting, args } of [
  { name: 'its own address', greeting: '', args: ['--proxy-protocol', 'v1'] },
  {
    name: 'the address that its proxy has told',
    greeting: 'PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n',
    args: ['--proxy-protocol', 'v1', '--accept-proxy-protocol', '127.0.0.1'],
  },
]) {
  test(`a client that waits for its target is announced once, with ${name}, although the forwarder is killed 8 times`, async () => {
    const port = freePort();
    const forwarder = await launchKilled(port, { args, seed, kills: 8, begin: 'FDSTORE', age: 0 });
    const client = await connect(forwarder.port);
    const own = `PROXY TCP4 127.0.0.1 127.0.0.1 ${client.localPort} ${forwarder.port}\r\n`;
    const answer = collect(client);
    client.end(`${greeting}hello`);
    // Killed while it reads the error of an attempt to connect, it leaves a session of which that is unknown.
    const isUnknown = () => forwarder.log().includes('nobody knows whether the target had accepted it');
    const told = (condition: () => boolean) =>
      until(condition).catch((error) => {
        throw new Error(`${error.message}\nseed ${seed}\n${forwarder.log()}`);
      });
    await told(() => isUnknown() || forwarder.log().includes('took over 1 open session'));
    await sleep(2000);
    await serve(async (socket) => socket.end((await collect(socket)).bytes), port);
    const { bytes, how } = await answer;
    // The reset may come before the line that tells why.
    if (how === 'ECONNRESET') await told(isUnknown);
    assert.is(
      `${bytes} ${how}`,
      isUnknown() ? ' ECONNRESET' : `${greeting || own}hello end`,
      forwarder.log(),
    );
  });
}

test('a client whose header has not arrived when the forwarder is killed is reset, and the target hears nothing of it', async () => {
  let connections = 0;
  const { port } = await serve(() => {
    connections += 1;
  });
  const forwarder = await launchKilled(port, {
    args: ['--accept-proxy-protocol', '127.0.0.1'],
    ...{ seed, kills: 1, begin: 'READY', age: 1300 },
  });
  const client = await connect(forwarder.port);
  client.write('PROXY TCP4 203.0.113.7 192.0');
  assert.is((await collect(client)).how, 'ECONNRESET');
  assert.is(connections, 0);
  assert.not.match(forwarder.log(), /took over/);
});

test.run();
