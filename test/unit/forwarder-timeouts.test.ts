import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  closeAll,
  collect,
  connect,
  type Forwarder,
  freePort,
  launch,
  load,
  serve,
  sleep,
  until,
  wasReset,
} from './forwarder-launch.ts';

const ends: (() => void)[] = [];

test.after.each(async () => {
  for (const end of ends.splice(0)) end();
  await closeAll();
});

/** A file that says where the target is. */
function fileWith(address: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
  ends.push(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'to');
  writeFileSync(file, `${address}\n`);
  return file;
}

const libc = koffi.load(null);
const getsockopt = libc.func('int getsockopt(int, int, int, void *, void *)');
const getpeername = libc.func('int getpeername(int, void *, void *)');
const getsockname = libc.func('int getsockname(int, void *, void *)');
const close = libc.func('int close(int)');
const syscall = libc.func('long syscall(long, int, int, int)');

/** The timeouts of one socket of the forwarder: keepalive or not, then seconds, seconds, probes, ms. */
interface Timeouts {
  /** "listener", "client" (accepted on the listener's port) or "target". */
  readonly role: string;
  readonly options: number[];
}

/** What the TCP sockets of the forwarder are set to, looked at through duplicates of its descriptors. */
function timeoutsOf(forwarder: Forwarder): Timeouts[] {
  const [SYS_pidfd_open, SYS_pidfd_getfd] = [434, 438];
  const pidfd = syscall(SYS_pidfd_open, forwarder.pid, 0, 0);
  assert.ok(pidfd >= 0);
  const found: Timeouts[] = [];
  for (const name of readdirSync(`/proc/${forwarder.pid}/fd`)) {
    if (Number(name) < 3 || !isSocket(forwarder.pid, name)) continue;
    const fd = syscall(SYS_pidfd_getfd, pidfd, Number(name), 0);
    assert.ok(fd >= 0);
    const address = Buffer.alloc(28);
    const size = (): Buffer => Buffer.from([28, 0, 0, 0]);
    const isConnected = getpeername(fd, address, size()) === 0;
    getsockname(fd, address, size());
    const isOurs = address.readUInt16BE(2) === forwarder.port;
    const [SOL_SOCKET, SO_KEEPALIVE, TCP, KEEPIDLE, KEEPINTVL, KEEPCNT, USER_TIMEOUT] = [
      1, 9, 6, 4, 5, 6, 18,
    ];
    const options = [
      [SOL_SOCKET, SO_KEEPALIVE],
      [TCP, KEEPIDLE],
      [TCP, KEEPINTVL],
      [TCP, KEEPCNT],
      [TCP, USER_TIMEOUT],
    ].map(([level, option]) => {
      const value = Buffer.alloc(4);
      assert.is(getsockopt(fd, level, option, value, Buffer.from([4, 0, 0, 0])), 0);
      return value.readInt32LE(0);
    });
    found.push({ role: isOurs ? (isConnected ? 'client' : 'listener') : 'target', options });
    close(fd);
  }
  close(pidfd);
  return found.sort((a, b) => (a.role < b.role ? -1 : 1));
}

function isSocket(pid: number, fd: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
  } catch {
    return false;
  }
}

const LIMITED = [1, 10, 5, 4, 30_000];

test('a link to another machine limits the silence of its target, and not of its clients', async () => {
  const { port } = await serve(() => {});
  const forwarder = await launch({
    args: ['--to-file', fileWith(`127.0.0.1:${port}`), '--peer-timeout', '30'],
  });
  await connect(forwarder.port);
  await until(() => forwarder.descriptors('socket') === 3);
  const found = timeoutsOf(forwarder);
  assert.equal(
    found.map(({ role }) => role),
    ['client', 'listener', 'target'],
  );
  for (const { role, options } of found) {
    if (role === 'target') assert.equal(options, LIMITED);
    else assert.equal([options[0], options[4]], [0, 0]);
  }
});

test('a head that serves one machine limits the silence of its clients, also of one who came before it', async () => {
  const { port } = await serve(() => {});
  const args = ['--allow', '127.0.0.1', '--peer-timeout', '30'];
  // The first client is in the backlog when the forwarder starts: that is how systemd starts it.
  const forwarder = await launch({ to: port, args, before: 'sleep 0.5' });
  await connect(forwarder.port);
  await until(() => forwarder.descriptors('socket') === 3);
  await connect(forwarder.port);
  await until(() => forwarder.descriptors('socket') === 5);
  const found = timeoutsOf(forwarder);
  assert.equal(
    found.map(({ role }) => role),
    ['client', 'client', 'listener', 'target', 'target'],
  );
  for (const { role, options } of found) {
    if (role === 'target') assert.equal([options[0], options[4]], [0, 0]);
    else assert.equal(options, LIMITED);
  }
});

test('without the option the kernel decides', async () => {
  const { port } = await serve(() => {});
  const forwarder = await launch({
    args: ['--to-file', fileWith(`127.0.0.1:${port}`), '--allow', '127.0.0.1'],
  });
  await connect(forwarder.port);
  await until(() => forwarder.descriptors('socket') === 3);
  assert.equal(
    timeoutsOf(forwarder).map(({ role, options }) => [role, options[0], options[4]]),
    [
      ['client', 0, 0],
      ['listener', 0, 0],
      ['target', 0, 0],
    ],
  );
});

test('a client that stops reading for longer than the limit keeps its session, on both sides', async () => {
  const sent = Buffer.alloc(24 << 20, 'abcdefg');
  const { port } = await serve((socket) => socket.end(sent));
  const limit = ['--peer-timeout', '3'];
  const head = await launch({ to: port, args: ['--allow', '127.0.0.1', ...limit] });
  const near = await launch({ args: ['--to-file', fileWith(`127.0.0.1:${head.port}`), ...limit] });
  const client = await connect(near.port);
  client.pause();
  await sleep(5000);
  assert.ok((await load(head)) < 0.3);
  const { bytes, how } = await collect(client);
  assert.is(how, 'end');
  assert.ok(bytes.equals(sent));
  assert.is(head.log() + near.log(), '');
});

test('a client that has said its last word and stops reading gets the rest, though the link is done with it', async () => {
  const sent = Buffer.alloc(1_000_000, 'abcdefg');
  const { port } = await serve((socket) => socket.resume().on('end', () => socket.end(sent)));
  const head = await launch({ to: port, args: ['--allow', '127.0.0.1', '--peer-timeout', '3'] });
  const client = await connect(head.port);
  client.pause();
  client.end('all of it, please');
  await until(() => head.descriptors('socket') === 1);
  await sleep(5000);
  const { bytes, how } = await collect(client);
  assert.is(how, 'end');
  assert.ok(bytes.equals(sent));
});

test('a target that stops reading for longer than the limit keeps its session', async () => {
  const sent = Buffer.alloc(24 << 20, 'abcdefg');
  let got = 0;
  const { port } = await serve((socket) => {
    socket.on('data', (chunk) => {
      got += chunk.length;
    });
    socket.pause();
    setTimeout(() => socket.resume(), 5000);
  });
  const near = await launch({ args: ['--to-file', fileWith(`127.0.0.1:${port}`), '--peer-timeout', '3'] });
  (await connect(near.port)).end(sent);
  await until(() => got === sent.length);
  assert.is(near.log(), '');
});

test('a target that vanishes without a word, idle or addressed, ends its clients and is told', async () => {
  if (
    spawnSync('unshare', ['--user', '--map-root-user', '--net', 'ip', 'link', 'set', 'lo', 'up']).status !== 0
  ) {
    console.log('SKIP: this user may not make network namespaces');
    return;
  }
  const port = freePort();
  const file = fileWith(`10.90.0.2:${port}`);
  const args = ['--to-file', file, '--place', 'machine beta', '--peer-timeout', '2'];
  // The head is in this namespace, the tail in a new one, where the target's address can be taken away.
  const forwarder = await launch({
    args,
    before: 'exec unshare --user --map-root-user --net -- "$@"',
  });
  const inside = ['--target', `${forwarder.pid}`, '--user', '--net', '--preserve-credentials', '--'];
  await until(() => readlinkSync(`/proc/${forwarder.pid}/ns/net`) !== readlinkSync('/proc/self/ns/net'));
  // Not before its user is mapped.
  await until(() => spawnSync('nsenter', [...inside, 'ip', 'link', 'set', 'lo', 'up']).status === 0);
  const ip = (...words: string[]): Buffer => execFileSync('nsenter', [...inside, 'ip', ...words]);
  ip('address', 'add', '10.90.0.2/32', 'dev', 'lo');
  const echo = `require('net').createServer((s) => s.pipe(s)).listen(${port}, '10.90.0.2', () => console.log('up'))`;
  const target = spawn('nsenter', [...inside, process.execPath, '-e', echo]);
  ends.push(() => target.kill('SIGKILL'));
  await once(target.stdout, 'data');
  const [idle, busy] = [await connect(forwarder.port), await connect(forwarder.port)];
  for (const client of [idle, busy]) {
    client.write('ping');
    assert.is(String((await once(client, 'data'))[0]), 'ping');
  }
  const [idleEnd, busyEnd] = [collect(idle), collect(busy)];
  ip('link', 'set', 'lo', 'down');
  busy.write('is anybody there?');
  assert.ok(await wasReset(idle, (await idleEnd).how));
  assert.ok(await wasReset(busy, (await busyEnd).how));
  await until(() => forwarder.descriptors('socket') === 1);
  assert.match(
    forwarder.log(),
    new RegExp(
      `^<4>link test: 10.90.0.2:${port} on machine beta (has been silent for 2 s|can no longer be reached \\(E[A-Z]+: [a-z ]+\\)); ` +
        'closed the client 127.0.0.1:\\d+\n',
    ),
  );
});

test.run();
