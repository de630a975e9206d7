import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseSeeds } from './fidelity-seeds.ts';
import { randomNumbers } from './forwarder-fidelity-script.ts';
import { closeAll, run, sleep } from './forwarder-launch.ts';
import { closeUnixSockets, type UnixSocket, unixSocket } from './unix-sockets.ts';

/*
 * Messages of unix sockets through the forwarder arrive as they do directly: all, once, in order, with their boundaries, at the right
 * client. Random scripts of clients that send, a server that answers, and both not reading for a while are played at the same time,
 * directly and through the forwarder.
 *
 *   WORMHOLE_FIDELITY=SEED        plays the script of this seed only
 *   WORMHOLE_FIDELITY=SEED:COUNT  plays the scripts of the seeds SEED, SEED + 1, …, AT_ONCE at a time
 */

const AT_ONCE = 100;
const STEP_TIMEOUT_MS = 30_000;

const seeds = chooseSeeds(AT_ONCE);

const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
test.after.each(async () => {
  closeUnixSockets();
  await closeAll();
});

type Type = 'unixgram' | 'unixpacket';
type Way = 'up' | 'down';
type Step =
  | { readonly do: 'send'; readonly way: Way; readonly sizes: readonly number[] }
  | { readonly do: 'stall' | 'read'; readonly way: Way }
  | { readonly do: 'sleep'; readonly ms: number }
  | { readonly do: 'settle' };

/** What one client and the server do. The first message of a client tells who it is. */
function createSteps(seed: number): Step[] {
  const random = randomNumbers(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const size = (): number => {
    const scale = random();
    if (scale < 0.15) return 0;
    if (scale < 0.3) return 1 + below(20);
    if (scale < 0.75) return 1 + below(2000);
    if (scale < 0.95) return 1 + below(65_507);
    return 100_000;
  };
  const steps: Step[] = [{ do: 'send', way: 'up', sizes: [100 + below(1000)] }, { do: 'settle' }];
  for (let left = below(14); left > 0; left--) {
    const what = random();
    const way: Way = random() < 0.5 ? 'up' : 'down';
    if (what < 0.65)
      steps.push({
        do: 'send',
        way,
        sizes: Array.from({ length: 1 + below(random() < 0.2 ? 60 : 5) }, size),
      });
    else if (what < 0.8) steps.push({ do: random() < 0.4 ? 'stall' : 'read', way });
    else if (what < 0.9) steps.push({ do: 'sleep', ms: below(40) });
    else steps.push({ do: 'read', way: 'up' }, { do: 'read', way: 'down' }, { do: 'settle' });
  }
  return [...steps, { do: 'read', way: 'up' }, { do: 'read', way: 'down' }, { do: 'settle' }];
}

/** What goes one way between a client and the server. */
interface Lane {
  /** Sizes of the messages that are to be sent; how many of them were, and how many have arrived. */
  readonly sizes: number[];
  sent: number;
  received: number;
}

interface Session {
  readonly seed: number;
  readonly steps: readonly Step[];
  readonly client: UnixSocket;
  /** The server's socket of this client alone, or where the server sends to. */
  server: UnixSocket | undefined;
  address: Buffer | undefined;
  readonly lanes: Record<Way, Lane>;
  readonly stalled: Set<Way>;
  step: number;
  since: number;
  trouble: string | undefined;
}

function content(seed: number, way: Way, number: number, size: number): Buffer {
  return size === 0 ? Buffer.alloc(0) : Buffer.alloc(size, `${seed} ${way} ${number} of ${size}; `);
}

/** Plays all scripts from `path` to `server`, which listens or is bound. Returns what has gone wrong. */
async function play(
  type: Type,
  path: string,
  server: UnixSocket,
  some: readonly number[],
): Promise<string[]> {
  const sessions = some.map(
    (seed): Session => ({
      seed,
      steps: createSteps(seed),
      client: (type === 'unixgram' ? unixSocket(type).bind() : unixSocket(type)).connect(path),
      server: undefined,
      address: undefined,
      lanes: { up: { sizes: [], sent: 0, received: 0 }, down: { sizes: [], sent: 0, received: 0 } },
      stalled: new Set(),
      step: 0,
      since: Date.now(),
      trouble: undefined,
    }),
  );
  const strangers: UnixSocket[] = [];
  for (let busy = sessions; busy.length > 0; busy = sessions.filter((one) => isBusy(one))) {
    let moved =
      type === 'unixgram' ? receiveDatagrams(sessions, server) : acceptAll(sessions, server, strangers);
    for (const session of busy) {
      moved = receiveAll(session) || moved;
      moved = sendAll(session, server) || moved;
      moved = advance(session) || moved;
    }
    if (!moved) await sleep(1);
  }
  for (const { client, server: own } of sessions) {
    client.close();
    own?.close();
  }
  return sessions.flatMap(({ seed, trouble }) =>
    trouble === undefined ? [] : [`${trouble}: WORMHOLE_FIDELITY=${seed}`],
  );
}

function isBusy({ steps, step, trouble }: Session): boolean {
  return trouble === undefined && step < steps.length;
}

/** Does the next step if it can be done. */
function advance(session: Session): boolean {
  const { steps, step, lanes, stalled, since } = session;
  const next = steps[step];
  if (next === undefined || session.trouble !== undefined) return false;
  if (next.do === 'send') lanes[next.way].sizes.push(...next.sizes);
  else if (next.do === 'stall') stalled.add(next.way);
  else if (next.do === 'read') stalled.delete(next.way);
  else if (next.do === 'sleep' && Date.now() < since + next.ms) return false;
  else if (
    next.do === 'settle' &&
    !Object.values(lanes).every((lane) => lane.received === lane.sizes.length)
  ) {
    if (Date.now() > since + STEP_TIMEOUT_MS)
      session.trouble = `waits in vain in step ${step}: ${JSON.stringify(lanes, ['up', 'down', 'sent', 'received'])}`;
    return false;
  }
  session.step += 1;
  session.since = Date.now();
  return true;
}

function sendAll({ seed, lanes, client, server, address }: Session, shared: UnixSocket): boolean {
  let moved = false;
  const push = (way: Way, send: (message: Buffer) => boolean): void => {
    const lane = lanes[way];
    while (lane.sent < lane.sizes.length) {
      if (!send(content(seed, way, lane.sent, lane.sizes[lane.sent] as number))) return;
      lane.sent += 1;
      moved = true;
    }
  };
  push('up', (message) => client.send(message));
  if (server !== undefined) push('down', (message) => server.send(message));
  else if (address !== undefined) push('down', (message) => shared.answer(message, address));
  return moved;
}

function receiveAll(session: Session): boolean {
  const { client, server, stalled } = session;
  let moved = false;
  const pull = (way: Way, from: UnixSocket | undefined): void => {
    while (from !== undefined && !stalled.has(way)) {
      const message = from.receive();
      if (message === undefined) return;
      moved = true;
      check(session, way, message.message);
      if (session.trouble !== undefined) return;
    }
  };
  pull('up', server);
  pull('down', client);
  return moved;
}

function check(session: Session, way: Way, message: Buffer): void {
  const lane = session.lanes[way];
  const size = lane.sizes[lane.received];
  const isRight = size !== undefined && message.equals(content(session.seed, way, lane.received, size));
  if (!isRight)
    session.trouble ??= `${message.length} bytes "${message.subarray(0, 40)}" arrived as message ${lane.received} ${way}, of ${size}`;
  lane.received += 1;
}

/** Reads what has arrived at the socket that all clients share, unless one of them wants the server not to read. */
function receiveDatagrams(sessions: readonly Session[], server: UnixSocket): boolean {
  if (sessions.some((session) => isBusy(session) && session.stalled.has('up'))) return false;
  let moved = false;
  for (let found = server.receive(); found !== undefined; found = server.receive()) {
    moved = true;
    const { from, message } = found;
    let session = sessions.find(({ address }) => address?.equals(from));
    if (session === undefined) {
      session = sessions.find(({ seed }) => message.toString('latin1').startsWith(`${seed} up `));
      if (session === undefined) throw new Error(`${message.length} bytes came from a stranger`);
      if (session.address !== undefined) session.trouble ??= 'has come from another address';
      session.address = Buffer.from(from);
    }
    check(session, 'up', message);
  }
  return moved;
}

/** Accepts connections. Their first messages tell which client it is. */
function acceptAll(sessions: readonly Session[], listener: UnixSocket, strangers: UnixSocket[]): boolean {
  let moved = false;
  for (let next = listener.accept(); next !== undefined; next = listener.accept()) {
    strangers.push(next);
    moved = true;
  }
  for (const stranger of strangers.splice(0)) {
    const found = stranger.receive();
    if (found === undefined) {
      strangers.push(stranger);
      continue;
    }
    moved = true;
    const text = found.message.toString('latin1');
    const session = sessions.find(({ seed }) => text.startsWith(`${seed} up `));
    if (session === undefined) throw new Error(`${text.length} bytes came from a stranger`);
    session.server = stranger;
    check(session, 'up', found.message);
  }
  return moved;
}

for (const type of ['unixgram', 'unixpacket'] as const) {
  for (const how of ['directly', 'through the forwarder']) {
    test(`the messages of ${seeds.length} random scripts of ${type} arrive ${how}`, async () => {
      const name = `${type} ${how}`.replaceAll(' ', '-');
      const target = join(directory, `${name}.target`);
      const server = unixSocket(type).bind(target);
      if (type === 'unixpacket') server.listen(4096);
      let path = target;
      if (how !== 'directly') {
        path = join(directory, `${name}.head`);
        const head = unixSocket(type).bind(path);
        if (type === 'unixpacket') head.listen(4096);
        const before = 'export LISTEN_FDS=1 LISTEN_PID=$$;';
        run(['--link', 'test', '--to', target, '--idle', '0'], before, { fds: [head.fd] });
        // Without it the clients wait for this process.
        head.close();
      }
      const troubles: string[] = [];
      for (let at = 0; at < seeds.length; at += AT_ONCE)
        troubles.push(...(await play(type, path, server, seeds.slice(at, at + AT_ONCE))));
      assert.is(
        troubles.length,
        0,
        `${troubles.length} of ${seeds.length}:\n${troubles.slice(0, 10).join('\n')}`,
      );
    });
  }
}

test.run();
