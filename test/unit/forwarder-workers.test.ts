import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import type net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { countIn, SIZE } from '../../src/forwarder/counters.ts';
import type { Event } from '../../src/forwarder/journal.ts';
import { countWorkers, cpusWithin, parseWorkers } from '../../src/forwarder/workers/count.ts';
import { createWorkerLog, printSent } from '../../src/forwarder/workers/log.ts';
import { createPicker } from '../../src/forwarder/workers/pick.ts';
import { createShared, noteOpen, noteTaken, sessionsOf } from '../../src/forwarder/workers/shared.ts';
import { createTally } from '../../src/forwarder/workers/tally.ts';
import { readCountersFile } from '../../src/state/counters-file.ts';
import {
  closeAll,
  collect,
  connect,
  FORWARDER_WORKERS,
  type Forwarder,
  freePort,
  launch,
  serve,
  sleep,
  until,
  within,
} from './forwarder-launch.ts';
import { unixSocket } from './unix-sockets.ts';

/* Forwarders with several threads. What one thread does is tested once more with two of them, at the end. */

const directory = mkdtempSync(join(tmpdir(), 'wormhole-workers-'));
test.after(() => rmSync(directory, { recursive: true, force: true }));
test.after.each(closeAll);

test('--workers takes auto or a number from 1 to 64', () => {
  assert.is(parseWorkers('auto'), 'auto');
  assert.is(parseWorkers('1'), 1);
  assert.is(parseWorkers('64'), 64);
  for (const text of ['0', '65', '1000', '-1', '1.5', 'many', '', ' 2', '0x2'])
    assert.throws(() => parseWorkers(text), `--workers "${text}" is neither auto nor a number from 1 to 64`);
});

test('auto is the number of processors that the machine and each control group allow', () => {
  assert.is(cpusWithin(8, []), 8);
  assert.is(cpusWithin(8, ['max 100000\n', '']), 8);
  assert.is(cpusWithin(8, ['max 100000\n', '150000 100000\n']), 2);
  assert.is(cpusWithin(8, ['400000 100000\n', '300000 100000\n']), 3);
  assert.is(cpusWithin(2, ['400000 100000\n']), 2);
  assert.is(cpusWithin(8, ['10000 100000\n']), 1);
  assert.is(cpusWithin(200, []), 64);
  assert.is(cpusWithin(8, ['nonsense', '1 0\n']), 8);
  assert.ok(countWorkers('auto', ['/nowhere']) >= 1);
  assert.is(countWorkers(3, ['/nowhere']), 3);
});

test('the worker with the least sessions is next, and equal ones take turns', () => {
  const load = [0, 0, 0];
  const picker = createPicker(3, (worker) => load[worker] as number);
  // Short connections, which are over before the next comes.
  assert.equal(
    Array.from({ length: 6 }, () => picker.next()),
    [0, 1, 2, 0, 1, 2],
  );
  load.splice(0, 3, 2, 0, 1);
  const picked = Array.from({ length: 6 }, () => {
    const worker = picker.next();
    load[worker] = (load[worker] as number) + 1;
    return worker;
  });
  assert.equal(load, [3, 3, 3]);
  assert.is(picked[0], 1);
});

test('a client on the way to a worker is never missed, also when the numbers have become negative', () => {
  const shared = createShared(2);
  assert.is(sessionsOf(shared, 1, 1), 1);
  noteOpen(shared, 1, 1);
  assert.is(sessionsOf(shared, 1, 1), 2);
  noteTaken(shared, 1);
  assert.is(sessionsOf(shared, 1, 1), 1);
  assert.is(sessionsOf(shared, 0, 0), 0);
  assert.is(sessionsOf(shared, 1, (2 ** 31 + 3) | 0), -(2 ** 31) + 2 + 1);
});

test('what threads count is added up, and a failure is everybody’s', () => {
  const [memory, shared] = [new SharedArrayBuffer(SIZE), createShared(2)];
  const [one, other, total] = [createTally(memory, shared), createTally(memory, shared), countIn(memory)];
  one.counters.served += 2;
  other.counters.served += 3;
  other.counters.bytesFromTarget += 10;
  one.counters.observeDial(3);
  assert.is(total.served, 0);
  one.flush();
  other.flush();
  one.flush();
  assert.equal([total.served, total.bytesFromTarget, total.dialMs], [5, 10, 3]);
  one.counters.open += 1;
  one.flush();
  other.counters.open -= 1;
  other.flush();
  assert.is(total.open, 0);
  one.counters.fail('refused');
  assert.equal([total.failing, other.counters.failing, total.unserved], [1, 1, 1]);
  other.counters.failing = 0;
  assert.is(one.counters.failing, 0);
});

test('failures of all workers are counted as one kind', () => {
  const lines: string[] = [];
  const kinds = new Map<string, { count: number; summary: (count: number) => string }>();
  const log = {
    info: (event: Event, line: string) => lines.push(`info ${event} ${line}`),
    error: (event: Event, line: string) => lines.push(`error ${event} ${line}`),
    failure(kind: string, line: string, summary: (count: number) => string) {
      const known = kinds.get(kind);
      if (known === undefined) lines.push(line);
      kinds.set(kind, { count: (known?.count ?? -1) + 1, summary });
    },
    flush() {},
  };
  const workers = [createWorkerLog(), createWorkerLog()];
  for (const worker of workers) {
    worker.info('resumed', 'a line');
    for (let n = 0; n < 3; n++)
      worker.failure(
        'unreachable 111',
        'refused "one"\nof them',
        (count) => `closed ${count} more client${count === 1 ? '' : 's'} in the last 10 s`,
      );
    worker.sendTo((text) => printSent(log, text));
    worker.sendTo(() => assert.unreachable());
  }
  assert.equal(lines, ['info resumed a line', 'refused "one"\nof them', 'info resumed a line']);
  const { count = 0, summary } = kinds.get('unreachable 111') ?? {};
  assert.is(summary?.(count), 'closed 5 more clients in the last 10 s');
  assert.is(summary?.(1), 'closed 1 more client in the last 10 s');
  // However long the lines, a message holds them.
  const pieces: string[] = [];
  for (let n = 0; n < 50; n++)
    workers[0]?.failure(`failed ${`${n}`.repeat(2000)}`, '\u0001'.repeat(9000), () => '\u0001'.repeat(9000));
  workers[0]?.sendTo((text) => pieces.push(text));
  assert.ok(pieces.length > 1 && pieces.every((piece) => Buffer.byteLength(piece) <= 32_768));
});

/** An echo server. */
const echo = async () => (await serve((socket) => socket.pipe(socket))).port;

async function answer(client: net.Socket, text = 'ping'): Promise<string> {
  client.write(text);
  return within(60_000, once(client, 'data')).then(([data]) => String(data));
}

/** The worker that was started last, of two, once it waits for something to do. */
async function lastWorkerOf({ pid }: Forwarder): Promise<number> {
  let polling: number[] = [];
  // A thread of V8, which was started before, is in epoll_wait(2) too.
  await until(() => {
    const threads = readdirSync(`/proc/${pid}/task`).map(Number);
    polling = threads.filter((thread) => thread !== pid && isPolling(pid, thread));
    return polling.length >= 3;
  });
  return Math.max(...polling);
}

function isPolling(pid: number, thread: number): boolean {
  const [call = ''] = readFileSync(`/proc/${pid}/task/${thread}/syscall`, 'utf8').split(' ');
  // epoll_wait and epoll_pwait of x86-64, epoll_pwait of arm64.
  return ['232', '281', '22'].includes(call);
}

test('random data of many clients passes four workers unchanged, all of them serve, and the figures are right', async () => {
  const file = join(directory, 'figures');
  const counters = openSync(file, 'a+');
  const forwarder = await launch({
    to: await echo(),
    args: ['--idle', '3', '--counters', '1', '--workers', '4'],
    stdout: counters,
  });
  closeSync(counters);
  let bytes = 0;
  for (let round = 0; round < 3; round++) {
    await Promise.all(
      Array.from({ length: 60 }, async (_, n) => {
        const client = await connect(forwarder.port);
        const sent = randomBytes(1 + ((n * 7919 + round * 104_729) % 300_000));
        bytes += sent.length;
        client.end(sent);
        const { bytes: got, how } = await collect(client);
        assert.is(how, 'end');
        assert.ok(got.equals(sent));
      }),
    );
  }
  const figures = () => readCountersFile(file)?.figures ?? {};
  await until(() => figures().open === 0);
  const { served, bytesFromClients, bytesFromTarget, unserved } = figures();
  assert.equal([served, bytesFromClients, bytesFromTarget, unserved], [180, bytes, bytes, 0]);
  assert.is(await within(60_000, forwarder.exited), 0, forwarder.log());
  assert.is(forwarder.log(), '');
});

test('sessions are spread over the workers', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0', '--workers', '3'] });
  const clients: net.Socket[] = [];
  for (let n = 0; n < 9; n++) {
    const client = await connect(forwarder.port);
    clients.push(client);
    await answer(client);
  }
  const epolls = readdirSync(`/proc/${forwarder.pid}/fdinfo`).map((fd) => {
    const info = readFileSync(`/proc/${forwarder.pid}/fdinfo/${fd}`, 'utf8');
    return (info.match(/^tfd:/gm) ?? []).length;
  });
  // In the epoll descriptor of each worker: its channel, three clients and three targets.
  assert.is(epolls.filter((count) => count === 7).length, 3, `${epolls}`);
  for (const client of clients) client.destroy();
});

test('limits hold over all workers: --max-connections, --max-per-source', async () => {
  const forwarder = await launch({
    to: await echo(),
    args: ['--idle', '0', '--workers', '3', '--max-connections', '5', '--max-per-source', '4'],
  });
  const at = (localAddress: string) => connect(forwarder.port, '127.0.0.1', { localAddress });
  const first = await Promise.all(Array.from({ length: 4 }, () => at('127.0.0.2')));
  for (const client of first) assert.is(await answer(client), 'ping');
  const refused = await at('127.0.0.2').then(collect, (error) => ({ how: error.code }));
  assert.is(refused.how, 'ECONNRESET');
  const other = await at('127.0.0.3');
  assert.is(await answer(other), 'ping');
  const waiting = await at('127.0.0.4');
  const answered = answer(waiting);
  await sleep(300);
  assert.is(forwarder.descriptors('socket'), 1 + 2 * 3 + 2 * 5);
  first[0]?.destroy();
  assert.is(await answered, 'ping');
  other.destroy();
  // The source has a place again, which its worker has told the first thread.
  await until(() => forwarder.descriptors('socket') === 1 + 2 * 3 + 2 * 4);
  const again = await at('127.0.0.2');
  assert.is(await answer(again), 'ping');
});

/** A socket that hears what a service manager would. */
function notifySocket(name: string): { path: string; heard: () => string[]; close: () => void } {
  const path = join(directory, name);
  const socket = unixSocket('unixgram').bind(path);
  const states: string[] = [];
  return {
    path,
    heard() {
      for (let next = socket.receive(); next !== undefined; next = socket.receive())
        states.push(`${next.message}`);
      return states;
    },
    close: () => socket.close(),
  };
}

test('a worker that hangs is noticed: the watchdog hears nothing any more', async () => {
  const bus = notifySocket('hang');
  const forwarder = await launch({
    to: await echo(),
    args: ['--idle', '0', '--workers', '2'],
    env: { NOTIFY_SOCKET: bus.path, WATCHDOG_USEC: '400000' },
  });
  const fed = () => bus.heard().filter((state) => state === 'WATCHDOG=1').length;
  await until(() => fed() >= 3);
  const thread = await lastWorkerOf(forwarder);
  // Reading the next ping takes it longer than this test lasts.
  const strace = spawn(
    'strace',
    [
      '-q',
      '-o',
      '/dev/null',
      '-p',
      `${thread}`,
      '-e',
      'trace=recvfrom',
      '-e',
      'inject=recvfrom:delay_enter=60s',
    ],
    { stdio: 'ignore' },
  );
  try {
    await until(() => {
      const before = fed();
      execFileSync('sleep', ['1']);
      return fed() === before;
    });
    // The first thread itself works.
    const client = await connect(forwarder.port);
    const second = await connect(forwarder.port);
    assert.ok(await Promise.race([answer(client), answer(second)]));
  } finally {
    strace.kill('SIGKILL');
    bus.close();
  }
});

test('a worker that fails ends the process, with its stack trace', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0', '--workers', '2'] });
  const client = await connect(forwarder.port);
  await answer(client);
  const thread = await lastWorkerOf(forwarder);
  const ended = collect(client);
  const strace = spawn(
    'strace',
    [
      '-q',
      '-o',
      '/dev/null',
      '-p',
      `${thread}`,
      '-e',
      'trace=epoll_wait',
      '-e',
      'inject=epoll_wait:error=EBADF',
    ],
    { stdio: 'ignore' },
  );
  // It waits already: the next call fails.
  const wake = setInterval(
    () =>
      connect(forwarder.port)
        .then(answer)
        .catch(() => {}),
    100,
  );
  try {
    // EX_SOFTWARE: systemd starts it again at once.
    assert.is(await within(60_000, forwarder.exited), 70, forwarder.log());
    assert.match(
      forwarder.log(),
      /epoll_wait failed \(EBADF: bad file descriptor\)[\s\S]*src\/forwarder\/loop\.ts/,
    );
    assert.is((await ended).how, 'ECONNRESET');
  } finally {
    clearInterval(wake);
    strace.kill('SIGKILL');
  }
});

test('SIGTERM resets the sessions of all workers when nothing stores them, with one line', async () => {
  const forwarder = await launch({ to: await echo(), args: ['--idle', '0', '--workers', '3'] });
  const clients = await Promise.all(Array.from({ length: 7 }, () => connect(forwarder.port)));
  for (const client of clients) await answer(client);
  const ends = clients.map(collect);
  forwarder.kill('SIGTERM');
  assert.is(await within(60_000, forwarder.exited), 0);
  assert.equal(new Set((await Promise.all(ends)).map(({ how }) => how)), new Set(['ECONNRESET']));
  assert.is(forwarder.log(), '<6>link test: stopped by SIGTERM; reset 7 open sessions\n');
});

test('a worker and the first thread hear of the end from each other also when the queue between them is full', async () => {
  // The second message of the first thread has the worker stop, and the second one of the worker says that it has.
  const injected = 'inject=sendto:error=EAGAIN:when=2';
  const forwarder = await launch({
    to: await echo(),
    args: ['--idle', '0', '--workers', '1'],
    wrapper: `strace -D -f -q -o ${directory}/sent -e trace=sendto -e ${injected} -e signal=none`,
  });
  const client = await connect(forwarder.port);
  await answer(client);
  const ended = collect(client);
  forwarder.kill('SIGTERM');
  assert.is(await within(60_000, forwarder.exited), 0);
  assert.is((await ended).how, 'ECONNRESET');
  assert.is(readFileSync(`${directory}/sent`, 'utf8').match(/INJECTED/g)?.length, 2);
  assert.is(forwarder.log(), '<6>link test: stopped by SIGTERM; reset 1 open session\n');
});

test('a target that refuses is one line, whichever workers have met it', async () => {
  const forwarder = await launch({
    to: freePort(),
    args: ['--idle', '0', '--workers', '3', '--dial-timeout', '0.3'],
  });
  const ends = await Promise.all(
    Array.from({ length: 12 }, async () => collect(await connect(forwarder.port))),
  );
  assert.equal(new Set(ends.map(({ how }) => how)), new Set(['ECONNRESET']));
  await until(() => forwarder.log() !== '');
  forwarder.kill('SIGTERM');
  await forwarder.exited;
  const lines = forwarder.log().trim().split('\n');
  assert.match(
    lines[0] ?? '',
    /refused for 0\.3 s .*; closed the client 127\.0\.0\.1:\d+; the next connection tries again$/,
  );
  assert.match(lines[1] ?? '', /refused for 0\.3 s .*; closed 11 more clients in the last 10 s$/);
  assert.is(lines.length, 2);
});

for (const name of ['fidelity', 'survival', 'proxy-fidelity', 'hand-off']) {
  test(`forwarder-${name} passes with two workers`, async () => {
    const file = fileURLToPath(new URL(`forwarder-${name}.test.ts`, import.meta.url));
    const child = spawn(process.execPath, ['--import', 'tsx', file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, [FORWARDER_WORKERS]: '2' },
    });
    const end = (): boolean => child.kill('SIGTERM');
    process.once('exit', end);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
      });
    }
    const [status] = await once(child, 'close');
    process.off('exit', end);
    assert.is(status, 0, output);
  });
}

test.run();
