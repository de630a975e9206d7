import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { programs } from '../programs.ts';
import { closeAll, type Forwarder, run, sleep, until } from './forwarder-launch.ts';
import { closeUnixSockets, type UnixSocket, unixSocket } from './unix-sockets.ts';

/* Datagrams and messages of unix sockets arrive once and in order although the forwarder is killed many times, mostly at a certain system call. */

const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Whether the test is over; its loops end then. */
let over = false;

/** When the forwarder is killed depends on this number. */
const SEED = process.env.WORMHOLE_SURVIVAL ?? String(Date.now() % 100_000);
const seeded = (name: string): string => `${name}: WORMHOLE_SURVIVAL=${SEED}`;
const loops: Promise<void>[] = [];

test.before.each(() => {
  over = false;
});
test.after.each(async () => {
  over = true;
  await Promise.all(loops.splice(0));
  closeUnixSockets();
  await closeAll();
});

type Started = Pick<Forwarder, 'log' | 'kill' | 'exited'>;

/** Starts a forwarder that is killed so many times, first when the sessions that begin with it are stored, and then by a plan if there is one. */
function startKilled(fd: number, to: string, kills: number, plan: string[] = []): Started {
  return run(['--link', 'test', '--to', to, '--idle', '0'], 'export LISTEN_FDS=1 LISTEN_PID=$$;', {
    fds: [fd],
    command: [process.execPath, '--import', 'tsx', new URL('service-manager.ts', import.meta.url).pathname],
    env: {
      KILLS: String(kills),
      SEED,
      AGE: '2000',
      BEGIN: 'FDSTORE',
      PROGRAM: programs.forwarder,
      // Every other recvmsg removes a message that has been sent.
      CALLS: 'recvmsg recvmsg recvmsg sendmmsg sendmsg epoll_ctl epoll_wait close',
      ...(plan.length > 0 && { PLAN: plan.join(' ') }),
    },
  });
}

/** Does something again and again, with a moment between, until the test is over. */
function whileTesting(step: () => void): void {
  const loop = async (): Promise<void> => {
    while (!over) {
      step();
      await sleep(1);
    }
  };
  loops.push(loop());
}

/** The message after `n` others of a client: its number, and bytes. */
function numbered(n: number): Buffer {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(n);
  return Buffer.concat([number, randomBytes(Math.floor(Math.random() * 20_000))]);
}

/** Sends messages through a client, at most some at a time, and notes what comes back. An empty one is the end. */
function converse(client: UnixSocket): { sent: Buffer[]; back: Buffer[]; mayAsk: boolean } {
  const talk = { sent: [] as Buffer[], back: [] as Buffer[], mayAsk: true };
  whileTesting(() => {
    while (talk.back.at(-1)?.length !== 0) {
      const next = client.receive();
      if (next === undefined) break;
      talk.back.push(next.message);
    }
    for (let n = 0; n < 3 && talk.mayAsk && talk.sent.length < talk.back.length + 20; n++) {
      const message = numbered(talk.sent.length);
      if (!client.send(message)) return;
      talk.sent.push(message);
    }
  });
  return talk;
}

/** Sends back each message, as soon as there is room. */
function echo(socket: UnixSocket, senders: Set<string>): void {
  const waiting: { message: Buffer; from: Buffer }[] = [];
  whileTesting(() => {
    for (let next = socket.receive(); next; next = socket.receive()) {
      senders.add(next.from.toString('latin1'));
      waiting.push(next);
    }
    for (;;) {
      const [next] = waiting;
      if (next === undefined || !socket.answer(next.message, next.from)) return;
      waiting.shift();
    }
  });
}

/** Waits until each client has got back all that it has sent, and checks that. */
async function requireAll(talks: ReturnType<typeof converse>[], log: () => string): Promise<void> {
  for (const talk of talks) talk.mayAsk = false;
  await until(() => talks.every(({ sent, back }) => back.length >= sent.length), 60_000).catch(() => {});
  // One that came twice comes a little later.
  await sleep(200);
  for (const { sent, back } of talks) {
    const numbers = back.map((message) => message.readUInt32LE());
    assert.equal(
      numbers,
      sent.map((_, n) => n),
      log(),
    );
    for (const [n, message] of sent.entries()) assert.ok(back[n]?.equals(message), `message ${n}`);
    assert.ok(sent.length > 100, `${sent.length} messages were sent`);
  }
}

/** Ends a forwarder whose sessions have ended. Checks that it was killed so often, has told of takeovers of all ten, and leaves nothing stored. */
async function requireTakeovers(forwarder: Started, kills: number): Promise<void> {
  forwarder.kill('SIGTERM');
  assert.is(await forwarder.exited, 0, forwarder.log());
  assert.ok((forwarder.log().match(/took over 10 open sessions/g)?.length ?? 0) >= 3, forwarder.log());
  assert.ok(forwarder.log().includes(`killed ${kills} times, 0 descriptors in the store`), forwarder.log());
  assert.not.match(forwarder.log(), /cannot|died/);
}

/**
 * Kills at the removal of a message that has been sent, and then, before the next process has stored what it takes over, so that the one after it
 * reads the same notes. A removal is every other call of recvmsg.
 */
const KILLED_AT_REMOVAL = Array.from({ length: 6 }, (_, n) => [`recvmsg:${30 + n}`, 'sendmsg:1']).flat();

async function killDatagrams(name: string, kills: number, plan?: string[]): Promise<void> {
  const [head, tail] = [join(directory, `${name}-head`), join(directory, `${name}-tail`)];
  const senders = new Set<string>();
  const server = unixSocket('unixgram').bind(tail);
  echo(server, senders);
  const forwarder = startKilled(unixSocket('unixgram').bind(head).fd, tail, kills, plan);
  const clients = Array.from({ length: 10 }, () => unixSocket('unixgram').bind().connect(head));
  const talks = clients.map(converse);
  await until(() => forwarder.log().includes('now left alone'), 300_000);
  await requireAll(talks, forwarder.log);
  assert.is(senders.size, talks.length);
  // A session ends when an answer finds its client gone.
  over = true;
  await Promise.all(loops.splice(0));
  for (const client of clients) client.close();
  for (const sender of senders) assert.ok(server.answer(Buffer.from('?'), Buffer.from(sender, 'latin1')));
  await requireTakeovers(forwarder, kills);
}

test(
  seeded(
    'datagrams arrive once and in order when the forwarder is killed, and the target knows the same clients',
  ),
  () => killDatagrams('random', 16),
);

test('datagrams arrive once when the forwarder is killed at the removal of one, and the next one before it has stored anything', () =>
  killDatagrams('removal', KILLED_AT_REMOVAL.length + 1, KILLED_AT_REMOVAL));

test('an answer that takes long finds its client, although the forwarder has been killed before it came', async () => {
  const [head, tail] = [join(directory, 'late-head'), join(directory, 'late-tail')];
  const server = unixSocket('unixgram').bind(tail);
  const forwarder = startKilled(unixSocket('unixgram').bind(head).fd, tail, 1);
  const client = unixSocket('unixgram').bind().connect(head);
  // An empty one, which is answered at once, and another one.
  let asked: ReturnType<UnixSocket['receive']>;
  for (const question of ['', 'question']) {
    client.send(question);
    await until(() => {
      asked = server.receive();
      return asked !== undefined;
    });
    assert.is(String(asked?.message), question);
    if (question !== '') break;
    assert.ok(asked && server.answer(Buffer.from('at once'), asked.from));
    await until(() => String(client.receive()?.message) === 'at once');
  }
  await until(() => /took over 1 open session/.test(forwarder.log()));
  assert.ok(asked && server.answer(Buffer.from('answer'), asked.from));
  await until(() => String(client.receive()?.message) === 'answer');
});

/** Serves connections of messages: each message is sent back, and the end of a client is answered with the end. */
function serveEcho(listener: UnixSocket): void {
  whileTesting(() => {
    const client = listener.accept();
    if (client === undefined) return;
    const waiting: Buffer[] = [];
    let isOver = false;
    whileTesting(() => {
      while (!isOver) {
        const next = client.receive();
        if (next === undefined) break;
        isOver = next.message.length === 0;
        if (isOver) client.end();
        else waiting.push(next.message);
      }
      while (waiting[0] !== undefined && client.send(waiting[0])) waiting.shift();
    });
  });
}

async function killConnections(name: string, kills: number, plan?: string[]): Promise<void> {
  const [head, tail] = [join(directory, `packet-${name}-head`), join(directory, `packet-${name}-tail`)];
  serveEcho(unixSocket('unixpacket').bind(tail).listen());
  const forwarder = startKilled(unixSocket('unixpacket').bind(head).listen().fd, tail, kills, plan);
  const clients = Array.from({ length: 10 }, () => unixSocket('unixpacket').connect(head));
  const talks = clients.map(converse);
  await until(() => forwarder.log().includes('now left alone'), 300_000);
  await requireAll(talks, forwarder.log);
  for (const client of clients) client.end();
  // The end of the server comes as an empty message.
  await until(() => talks.every(({ back }) => back.at(-1)?.length === 0));
  await requireTakeovers(forwarder, kills);
}

test(
  seeded('messages of connections arrive once and in order when the forwarder is killed, and so do ends'),
  () => killConnections('random', 16),
);

test('messages arrive once when the forwarder is killed at the removal of one, and the next one before it has stored anything', () =>
  killConnections('removal', KILLED_AT_REMOVAL.length + 1, KILLED_AT_REMOVAL));

test('a connection of messages that ends is seen to end at once, although it is stored', async () => {
  const [head, tail] = [join(directory, 'end-head'), join(directory, 'end-tail')];
  const listener = unixSocket('unixpacket').bind(tail).listen();
  const forwarder = startKilled(unixSocket('unixpacket').bind(head).listen().fd, tail, 1);
  const client = unixSocket('unixpacket').connect(head);
  let server: UnixSocket | undefined;
  await until(() => {
    server = listener.accept();
    return server !== undefined;
  });
  await until(() => /took over 1 open session/.test(forwarder.log()));
  // While the service manager does nothing, it keeps its duplicates.
  forwarder.kill('SIGSTOP');
  client.send('last');
  client.close();
  const heard: string[] = [];
  await until(() => {
    const next = server?.receive();
    if (next !== undefined) heard.push(String(next.message));
    return heard.at(-1) === '';
  });
  assert.equal(heard, ['last', '']);
  forwarder.kill('SIGCONT');
  forwarder.kill('SIGTERM');
  assert.is(await forwarder.exited, 0, forwarder.log());
  assert.match(forwarder.log(), /0 descriptors in the store/);
});

test.run();
