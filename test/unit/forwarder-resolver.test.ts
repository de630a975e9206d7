import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import koffi from 'koffi';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  closeAll,
  collect,
  connect,
  deafTarget,
  type Forwarder,
  freePort,
  hear,
  launch,
  run,
  serve,
  sleep,
  spentDuring,
  until,
  wasReset,
} from './forwarder-launch.ts';

/** What an other machine's side looks like from here: the file with its address, and the socket to ask at. */
interface Far {
  readonly file: string;
  readonly socket: string;
  /** When each question came, ms. */
  readonly questions: number[];
  /** Questions that are not answered yet. */
  readonly open: net.Socket[];
  /** Writes the file and answers every question that is open. */
  answer(line: string | undefined): void;
  /** The same, for every question at once. */
  always(line: string): void;
}

const ends: (() => void)[] = [];

test.after.each(async () => {
  for (const end of ends.splice(0)) end();
  await closeAll();
});

async function farSide(line?: string): Promise<Far> {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-'));
  const [file, socket] = [join(directory, 'to'), join(directory, 'far.sock')];
  const put = (text: string): void => {
    writeFileSync(`${file}.new`, `${text}\n`);
    renameSync(`${file}.new`, file);
  };
  let standing: string | undefined;
  const far: Far = {
    file,
    socket,
    questions: [],
    open: [],
    answer(text) {
      if (text !== undefined) put(text);
      for (const question of far.open.splice(0)) question.destroy();
    },
    always(text) {
      standing = text;
    },
  };
  if (line !== undefined) put(line);
  const server = net.createServer((question) => {
    far.questions.push(performance.now());
    far.open.push(question);
    if (standing !== undefined) far.answer(standing);
  });
  server.listen(socket);
  await once(server, 'listening');
  ends.push(() => {
    for (const question of far.open) question.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  });
  return far;
}

function launchWithFile(far: Far, ...args: string[]): Promise<Forwarder> {
  return launch({ args: ['--to-file', far.file, '--ask', far.socket, '--place', 'machine beta', ...args] });
}

async function greeter(word: string): Promise<number> {
  return (await serve((socket) => socket.end(word))).port;
}

test('an address that the file has at start is used, and nobody is asked', async () => {
  const far = await farSide(`127.0.0.1:${await greeter('hello')}`);
  const forwarder = await launchWithFile(far);
  assert.is(await hear(forwarder.port), 'hello');
  assert.is(far.questions.length, 0);
  assert.is(forwarder.log(), '');
});

test('a file that is not there yet: the first client asks, and is served with all it has said', async () => {
  const far = await farSide();
  const { port } = await serve((socket) => socket.pipe(socket));
  const forwarder = await launchWithFile(far, '--dial-timeout', '60');
  const client = await connect(forwarder.port);
  client.end('early');
  await until(() => far.open.length === 1);
  await sleep(300);
  far.answer(`127.0.0.1:${port}`);
  assert.is(String((await collect(client)).bytes), 'early');
  assert.is(far.questions.length, 1);
  assert.is(forwarder.log(), '');
});

test('a target that refuses is asked for, and its new address serves the client that waits', async () => {
  const far = await farSide(`127.0.0.1:${freePort()}`);
  const forwarder = await launchWithFile(far);
  far.always(`127.0.0.1:${await greeter('moved')}`);
  assert.is(await hear(forwarder.port), 'moved');
  assert.is(await hear(forwarder.port), 'moved');
  assert.is(far.questions.length, 1);
});

test('a target that does not answer is asked for, and the hanging dial goes to the new address at once', async () => {
  const far = await farSide(`127.0.0.1:${(await deafTarget()).port}`);
  const forwarder = await launchWithFile(far, '--dial-timeout', '60');
  const client = await connect(forwarder.port);
  const quiet = await connect(forwarder.port);
  client.end('x');
  await until(() => far.open.length === 1);
  far.answer(`127.0.0.1:${await greeter('moved')}`);
  assert.is(String((await collect(client)).bytes), 'moved');
  assert.is(String((await collect(quiet)).bytes), 'moved');
  assert.is(far.questions.length, 1);
});

test('a dial that hangs goes on when the answer is the same address', async () => {
  const { port } = await deafTarget();
  const far = await farSide(`127.0.0.1:${port}`);
  const forwarder = await launchWithFile(far, '--dial-timeout', '6');
  const client = await connect(forwarder.port);
  const ended = collect(client);
  await until(() => far.open.length === 1);
  far.answer(undefined);
  await until(() => far.open.length === 1);
  const spent = await spentDuring(forwarder, () => sleep(2000));
  assert.ok(spent < 0.6, `${spent} s of CPU time`);
  far.answer(undefined);
  assert.ok(await wasReset(client, (await ended).how));
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    new RegExp(`link test: 127.0.0.1:${port} on machine beta did not answer for 6 s \\(ETIMEDOUT`),
  );
});

test('a reason closes all waiting clients with one line, and the next client asks again', async () => {
  const far = await farSide();
  const forwarder = await launchWithFile(far, '--dial-timeout', '30');
  const clients = await Promise.all([1, 2, 3].map(() => connect(forwarder.port)));
  await until(() => far.open.length === 1);
  await until(() => forwarder.descriptors('socket') === 5);
  far.answer('! machine beta does not know our key');
  for (const client of clients) assert.ok(await wasReset(client, (await collect(client)).how));
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /^<4>link test: machine beta does not know our key; closed the client 127\.0\.0\.1:\d+; the next connection tries again\n$/,
  );
  assert.is(far.questions.length, 1);
  // It comes within the second in which nobody is asked, and must outlive the reason from before its time.
  far.always(`127.0.0.1:${await greeter('mended')}`);
  assert.is(await hear(forwarder.port), 'mended');
  assert.is(far.questions.length, 2);
  forwarder.kill('SIGTERM');
  await forwarder.exited;
  assert.match(forwarder.log(), /does not know our key; closed 2 more clients in the last 10 s\n$/);
});

test('a reason does not close clients whose target has accepted, even if nothing was sent yet', async () => {
  let accepted = 0;
  const { port, server } = await serve((socket) => {
    accepted++;
    socket.pipe(socket);
  });
  const far = await farSide(`127.0.0.1:${port}`);
  const forwarder = await launchWithFile(far, '--dial-timeout', '60');
  const silent = await connect(forwarder.port);
  // A server that closes resets the connections that it has not accepted yet.
  await until(() => accepted === 1);
  server.close();
  const late = await connect(forwarder.port);
  await until(() => far.open.length === 1);
  far.answer('! gone');
  assert.ok(await wasReset(late, (await collect(late)).how));
  silent.end('still there');
  assert.is(String((await collect(silent)).bytes), 'still there');
});

test('a reason that is older than the link sends nobody away', async () => {
  const far = await farSide('! beta was down yesterday');
  far.always(`127.0.0.1:${await greeter('today')}`);
  const forwarder = await launchWithFile(far);
  assert.is(await hear(forwarder.port), 'today');
  assert.is(forwarder.log(), '');
});

test('one question at a time, and none within a second after an answer', async () => {
  const far = await farSide(`127.0.0.1:${freePort()}`);
  const forwarder = await launchWithFile(far, '--dial-timeout', '8');
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(forwarder.port)));
  const ended = Promise.all(clients.map(collect));
  await until(() => far.open.length === 1);
  await sleep(1500);
  assert.is(far.questions.length, 1);
  const answered = performance.now();
  far.answer(undefined);
  await until(() => far.questions.length === 2);
  assert.ok((far.questions[1] as number) - answered > 990);
  const spent = await spentDuring(forwarder, () => sleep(2000));
  assert.ok(spent < 0.6, `${spent} s of CPU time`);
  assert.is(far.questions.length, 2);
  await ended;
});

test('a target that resets at once is asked for, and the next client finds it mended', async () => {
  const { port } = await serve((socket) => socket.resetAndDestroy());
  const far = await farSide(`127.0.0.1:${port}`);
  const forwarder = await launchWithFile(far);
  assert.is(await hear(forwarder.port), 'reset');
  await until(() => far.open.length === 1);
  far.answer(`127.0.0.1:${await greeter('mended')}`);
  await until(() => forwarder.descriptors('socket') === 1);
  assert.is(await hear(forwarder.port), 'mended');
  assert.is(forwarder.log(), '');
});

test('a part whose own target fails: its words are logged, and a target that resets by itself is not blamed', async () => {
  const { port } = await serve((socket) => socket.resetAndDestroy());
  const far = await farSide(`127.0.0.1:${port}`);
  const forwarder = await launchWithFile(far);
  assert.is(await hear(forwarder.port), 'reset');
  await until(() => far.open.length === 1);
  far.answer(`127.0.0.1:${port}\n127.0.0.1:4199 on this host refused`);
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /^<4>link test: machine beta says: 127\.0\.0\.1:4199 on this host refused; its forwarder has reset the client; the next connection tries again$/m,
  );
  // What resets by itself is the target's business. Within a second after the answer nobody is asked.
  for (const end = performance.now() + 60_000; far.open.length === 0; await sleep(50)) {
    assert.is(await hear(forwarder.port), 'reset');
    assert.ok(performance.now() < end, 'nobody is asked');
  }
  far.answer(`127.0.0.1:${await greeter('mended')}`);
  await until(() => forwarder.descriptors('socket') === 1);
  assert.is(await hear(forwarder.port), 'mended');
});

test('a far head that no longer allows us resets every client that speaks at once, and none sees a plain end', async () => {
  const behind = await launch({ to: await greeter('never'), args: ['--allow', '10.90.0.9'] });
  const far = await farSide(`127.0.0.1:${behind.port}`);
  const forwarder = await launchWithFile(far);
  for (let i = 0; i < 100; i++) {
    assert.is(await hear(forwarder.port, i % 2 === 0 ? { say: 'hello' } : {}), 'reset', `round ${i}`);
  }
  assert.is(far.questions.length, 1);
});

test('a target that resets after it has answered, or its client, is no reason to ask', async () => {
  const { port } = await serve((socket) => {
    socket.once('data', () => socket.write('bye', () => socket.resetAndDestroy()));
  });
  const far = await farSide(`127.0.0.1:${port}`);
  const forwarder = await launchWithFile(far);
  for (let i = 0; i < 10; i++) await hear(forwarder.port, { say: 'x' });
  (await connect(forwarder.port)).resetAndDestroy();
  await until(() => forwarder.descriptors('socket') === 1);
  await sleep(100);
  assert.is(far.questions.length, 0);
});

test('with nobody to ask, one line says what to do, and dialling goes on until its timeout', async () => {
  const far = await farSide();
  const missing = `${far.socket}-missing`;
  const forwarder = await launch({
    args: ['--to-file', far.file, '--ask', missing, '--place', 'machine beta', '--dial-timeout', '1.5'],
  });
  assert.is(await hear(forwarder.port), 'reset');
  await until(() => forwarder.log().includes('closed'));
  const [asking, leaving, rest] = forwarder.log().split('\n');
  assert.is(
    asking,
    `<4>link test: cannot ask for the far side at ${missing} (ENOENT: no such file or directory): systemctl start wormhole-far.socket`,
  );
  assert.match(
    leaving as string,
    /^<4>link test: no address of machine beta was learnt for 1\.5 s \(EDESTADDRREQ: .*\); closed the client 127\.0\.0\.1:\d+; the next/,
  );
  assert.is(rest, '');
});

test('a question that finds the backlog full is asked again, and costs no line', async () => {
  const far = await farSide();
  const busy = busyService(`${far.socket}-busy`);
  const forwarder = await launch({
    args: ['--to-file', far.file, '--ask', busy.path, '--dial-timeout', '30'],
  });
  const client = await connect(forwarder.port);
  // A forwarder that starts after the file is there has nothing to ask.
  await until(() => forwarder.descriptors('socket') === 2);
  await sleep(500);
  assert.ok(busy.takes(), 'the one who fills the backlog');
  assert.not(busy.takes());
  writeFileSync(far.file, `127.0.0.1:${await greeter('at last')}\n`);
  await until(() => busy.takes());
  assert.is(String((await collect(client)).bytes), 'at last');
  assert.is(forwarder.log(), '');
});

test('a file that cannot be understood is told, and is no address', async () => {
  const far = await farSide('beta:3306');
  const forwarder = await launchWithFile(far, '--dial-timeout', '0.3');
  await until(() => forwarder.log() !== '');
  assert.is(
    forwarder.log(),
    `<4>link test: the far side's address in ${far.file} is of no use: ` +
      '"beta:3306" is not an address like 127.0.0.1:3306 or [::1]:80\n',
  );
  assert.is(await hear(forwarder.port), 'reset');
});

test('what was to start the target has given up: the client is told that, resolver or not', async () => {
  const far = await farSide();
  const forwarder = await launchWithFile(far, '--given-up', far.socket);
  assert.is(await hear(forwarder.port), 'reset');
  await until(() => forwarder.log() !== '');
  assert.match(
    forwarder.log(),
    /machine beta could not be started: see journalctl -u wormhole-test-run\.service; closed the client /,
  );
  assert.is(far.questions.length, 0);
});

test('options that miss or exclude each other are one line', async () => {
  for (const [args, complaint] of [
    [[], /--to is missing, and --to-file too;/],
    [
      ['--to', '127.0.0.1:1', '--to-file', '/x'],
      /--to "127.0.0.1:1" and --to-file "\/x" exclude each other;/,
    ],
    [['--to', '127.0.0.1:1', '--ask', '/x'], /--ask "\/x" needs --to-file;/],
    [['--to-file', '/x', '--ask', 'y'], /--ask "y" is neither a path nor an abstract name/],
    [['--to-file', '/x', '--ask', `/${'y'.repeat(107)}`], /at most 107 bytes/],
    [['--to-file', '/x', '--peer-timeout', 'soon'], /--peer-timeout "soon" is not a number/],
    [['--to-file', '/x', '--peer-timeout', '0.5'], /--peer-timeout "0.5" is not between 1 and 86400 seconds/],
  ] as [string[], RegExp][]) {
    const forwarder = run(['--link', 'x', ...args]);
    assert.is(await forwarder.exited, 2);
    assert.match(forwarder.log(), complaint);
    assert.is(forwarder.log().match(/\n/g)?.length, 1);
  }
});

/** A stream socket whose backlog holds one connection and is full: connect(2) gives EAGAIN to who does not wait. */
function busyService(path: string): { path: string; takes: () => boolean } {
  const libc = koffi.load(null);
  const close = libc.func('int close(int)');
  const socket = libc.func('int socket(int, int, int)');
  const accept = libc.func('int accept(int, void *, void *)');
  const [AF_UNIX, SOCK_STREAM_NONBLOCK] = [1, 1 | 0x80800];
  const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(`${path}\0`)]);
  const [listener, filler] = [
    socket(AF_UNIX, SOCK_STREAM_NONBLOCK, 0),
    socket(AF_UNIX, SOCK_STREAM_NONBLOCK, 0),
  ];
  assert.is(libc.func('int bind(int, void *, uint)')(listener, address, address.length), 0);
  assert.is(libc.func('int listen(int, int)')(listener, 0), 0);
  assert.is(libc.func('int connect(int, void *, uint)')(filler, address, address.length), 0);
  ends.push(() => {
    for (const fd of [listener, filler]) close(fd);
  });
  return {
    path,
    /** Accepts one and hangs up; false if nobody is there. */
    takes: () => {
      const fd = accept(listener, null, null);
      if (fd >= 0) close(fd);
      return fd >= 0;
    },
  };
}

test.run();
