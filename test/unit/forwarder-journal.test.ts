import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { closeAll, collect, connect, freePort, hear, launch, serve, until } from './forwarder-launch.ts';

/* What the forwarder talks to besides its sockets does not read: journald behind standard error, systemd behind sd_notify. */

test.after.each(closeAll);

const libc = koffi.load(null);
const socketpair = libc.func('int socketpair(int, int, int, void *)');
const send = libc.func('int send(int, void *, size_t, int)');
const recv = libc.func('int recv(int, void *, size_t, int)');
const write = libc.func('int write(int, void *, size_t)');
const [AF_UNIX, SOCK_STREAM_CLOEXEC, MSG_DONTWAIT] = [1, 1 | 0x80000, 0x40];

interface Channel {
  /** The forwarder's end. */
  readonly fd: number;
  /** Fills the channel until it takes nothing more. */
  fill(): void;
  /** Everything that is in it now. */
  read(): string;
  close(): void;
}

/** A stream socket, as journald has one for each service. */
function journalSocket(): Channel {
  const fds = new Int32Array(2);
  assert.is(socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, fds), 0);
  const [ours, theirs] = fds as unknown as [number, number];
  const room = Buffer.alloc(4096, '#');
  return {
    fd: theirs,
    fill: () => {
      while (send(theirs, Buffer.from('#'.repeat(100)), 100, MSG_DONTWAIT) > 0);
    },
    read: () => readAll((bytes) => recv(ours, bytes, bytes.length, MSG_DONTWAIT), room),
    close: () => {
      closeSync(ours);
      closeSync(theirs);
    },
  };
}

function journalPipe(): Channel {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const blocking = openSync(path, constants.O_WRONLY);
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  return {
    fd: blocking,
    fill: () => {
      while (write(writer, Buffer.from('#'.repeat(100)), 100) > 0);
    },
    read: () => readAll((bytes) => readSync(reader, bytes), Buffer.alloc(4096)),
    close: () => {
      for (const fd of [reader, blocking, writer]) closeSync(fd);
      rmSync(directory, { recursive: true });
    },
  };
}

function readAll(readSome: (bytes: Buffer) => number, room: Buffer): string {
  let text = '';
  try {
    for (let n = readSome(room); n > 0; n = readSome(room)) text += room.toString('utf8', 0, n);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
  }
  return text;
}

for (const [what, make] of [
  ['a journald that is stuck', journalSocket],
  ['a pipe that is full', journalPipe],
] as const) {
  test(`${what} does not stop the relay, and hears everything later`, async () => {
    const channel = make();
    try {
      channel.fill();
      const port = freePort();
      const forwarder = await launch({ to: port, args: ['--dial-timeout', '0.2'], stderr: channel.fd });
      const client = await connect(forwarder.port);
      await collect(client);
      // The line about that client is due now. The next client is served although nobody has taken the line.
      await serve((socket) => socket.end('served'), port);
      assert.is(await hear(forwarder.port), 'served');
      assert.not.match(channel.read(), /link test/);
      let heard = '';
      await until(() => {
        heard += channel.read();
        return heard.includes('\n');
      });
      assert.match(heard, /^#*<4>link test: 127\.0\.0\.1:\d+ refused for 0\.2 s .*\n$/);
      forwarder.kill('SIGTERM');
      assert.is(await forwarder.exited, 0);
    } finally {
      channel.close();
    }
  });
}

test('SIGTERM ends it at once while journald is stuck', async () => {
  const channel = journalSocket();
  try {
    const forwarder = await launch({ to: freePort(), stderr: channel.fd });
    const client = await connect(forwarder.port);
    channel.fill();
    client.write('hello');
    await until(() => forwarder.descriptors('socket') > 1);
    forwarder.kill('SIGTERM');
    assert.is(await forwarder.exited, 0);
  } finally {
    channel.close();
  }
});

test.run();
