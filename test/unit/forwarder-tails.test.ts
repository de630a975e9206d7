import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatHeader } from '../../src/forwarder/proxy-protocol/format.ts';
import { parseHeader } from '../../src/forwarder/proxy-protocol/parse.ts';
import { closeAll, collect, connect, deafTarget, freePort, serve, sleep, until } from './forwarder-launch.ts';
import { ask, directory, frontTo, named, namesOf, startAll, type Tail, tailTo, tailWith } from './tails.ts';
import { closeUnixSockets } from './unix-sockets.ts';

/* Several tails with what else a link may have: limits on its clients, PROXY headers, and targets that have names. */

test.after.each(async () => {
  closeUnixSockets();
  await closeAll();
});

/** Whether a new client is served; one that is refused may be so before Node tells of the connection. */
async function isServed(port: number, localAddress = '127.0.0.1'): Promise<boolean> {
  try {
    const socket = await connect(port, '127.0.0.1', { localAddress });
    return await Promise.race([
      once(socket, 'data').then(() => true),
      once(socket, 'close').then(() => false),
    ]);
  } catch {
    return false;
  }
}

async function becomes(what: () => Promise<boolean>): Promise<void> {
  // A tail whose forwarder has been silent is tried again within 30 s.
  const end = performance.now() + 120_000;
  while (!(await what())) {
    if (performance.now() > end) throw new Error('it did not become so within 120 s');
    await sleep(20);
  }
}

/** Two tails with their forwarders. */
async function twoTails(args: string[] = []): Promise<[Tail, Tail]> {
  const tails: [Tail, Tail] = [
    tailTo((await named('one')).port, args),
    tailTo((await named('two')).port, args),
  ];
  await startAll(tails);
  return tails;
}

test('--max-connections of the front counts the sessions of all tails, and a place that is free goes to who waits', async () => {
  const front = await frontTo(await twoTails(), ['--max-connections', '2']);
  const open = [await ask(front.port), await ask(front.port)];
  assert.equal(open.map(({ name }) => name).sort(), ['one', 'two']);
  const waiting = await connect(front.port);
  const heard = once(waiting, 'data');
  assert.is(await Promise.race([heard.then(() => 'served'), sleep(300).then(() => 'waiting')]), 'waiting');
  open[0]?.socket.destroy();
  assert.match(`${(await heard)[0]}`, /one|two/);
  await until(() => /2 clients are connected, which is as many as --max-connections/.test(front.log()));
});

test('--max-per-source counts the sessions of an address in all tails, also for a front that is started again', async () => {
  const limit = ['--max-per-source', '2'];
  const tails = await twoTails(limit);
  const front = await frontTo(tails, limit);
  const open = [await ask(front.port), await ask(front.port)];
  assert.equal(open.map(({ name }) => name).sort(), ['one', 'two']);
  assert.not(await isServed(front.port));
  // The client may learn of it before its line has come here.
  await until(() => /refused 127\.0\.0\.1:\d+: 2 connections of its address are open/.test(front.log()));
  assert.ok(await isServed(front.port, '127.0.0.2'));
  open[0]?.socket.destroy();
  await becomes(() => isServed(front.port));
  assert.not(await isServed(front.port));

  front.kill('SIGKILL');
  await front.exited;
  const next = await frontTo(tails, limit);
  await becomes(async () => {
    const answer = await isServed(next.port, '127.0.0.3');
    return answer && !(await isServed(next.port));
  });
});

test('--max-per-source forgets clients that no tail takes, and the sessions of a forwarder that has ended', async () => {
  const limit = ['--max-per-source', '1'];
  const port = freePort();
  const tail = tailTo(port, limit);
  const program = tail.start();
  const front = await frontTo([tail], [...limit, '--dial-timeout', '0.2'], () => '1 1');
  for (let n = 0; n < 3; n++) assert.not(await isServed(front.port));
  assert.not(/connections of its address are open/.test(front.log()), front.log());
  await named('late', port);
  await becomes(() => isServed(front.port));
  assert.not(await isServed(front.port));
  program.kill('SIGKILL');
  await program.exited;
  tail.start();
  await becomes(() => isServed(front.port));
});

test('--idle-timeout of a tail resets a session that was handed over', async () => {
  const front = await frontTo(await twoTails(['--idle-timeout', '1']));
  const { socket } = await ask(front.port);
  assert.is((await collect(socket)).how, 'ECONNRESET');
});

/** A server that answers with its name and all that it hears, once the client has ended. */
function echo(name: string) {
  return serve(async (socket) => {
    const { bytes } = await collect(socket);
    socket.end(Buffer.concat([Buffer.from(`${name} `), bytes]));
  });
}

async function exchange(port: number, say: string): Promise<{ heard: string; own: number }> {
  const socket = await connect(port);
  const own = socket.localPort as number;
  socket.end(say);
  return { heard: (await collect(socket)).bytes.toString('latin1'), own };
}

test('--proxy-protocol: the tail that takes a client tells its target the client of the front, also after another refused', async () => {
  const [refusing, two] = [tailTo(freePort()), tailTo((await echo('two')).port)];
  await startAll([refusing, two]);
  for (const version of ['v1', 'v2'] as const) {
    const front = await frontTo([refusing, two], ['--balance', 'first', '--proxy-protocol', version]);
    for (let n = 0; n < 2; n++) {
      const { heard, own } = await exchange(front.port, 'hello');
      const line = `PROXY TCP4 127.0.0.1 127.0.0.1 ${own} ${front.port}\r\n`;
      const parsed = parseHeader(Buffer.from(line));
      if (parsed.kind !== 'complete' || !parsed.endpoints) throw new Error('no header');
      const header = version === 'v1' ? line : formatHeader('v2', parsed.endpoints).toString('latin1');
      assert.is(heard, `two ${header}hello`);
    }
  }
});

test('--accept-proxy-protocol: the header is taken out, its client is told on, and --balance source goes by it', async () => {
  const tails = [];
  for (const name of ['one', 'two', 'three']) tails.push(tailTo((await echo(name)).port));
  await startAll(tails);
  const accept = ['--balance', 'source', '--accept-proxy-protocol', '127.0.0.0/8'];
  const front = await frontTo(tails, [...accept, '--proxy-protocol', 'v1']);
  const of = (host: string) => `PROXY TCP4 ${host} 192.0.2.1 51000 443\r\n`;
  const answers = new Map<string, string>();
  for (let n = 0; n < 12; n++) {
    const host = `203.0.113.${n}`;
    const { heard } = await exchange(front.port, `${of(host)}hello`);
    answers.set(host, heard.split(' ')[0] ?? '');
    assert.ok(heard.endsWith(` ${of(host)}hello`), heard);
  }
  assert.is(new Set(answers.values()).size, 3);
  for (const [host, name] of answers)
    assert.is((await exchange(front.port, of(host))).heard.split(' ')[0], name);
});

test('a client whose header was taken out is named by it, and its bytes are counted without it', async () => {
  const tail = tailTo(freePort());
  tail.start();
  const accept = ['--accept-proxy-protocol', '127.0.0.0/8', '--dial-timeout', '0.2'];
  const front = await frontTo([tail], accept, () => '1 1');
  await exchange(front.port, 'PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n').catch(() => {});
  assert.match(front.log(), /closed the client 203\.0\.113\.7:51000 behind 127\.0\.0\.1:\d+/);
});

let files = 0;

/** A tail whose target has a name with these addresses, which stay valid. */
function namedTail(addresses: string[], args: string[] = []): Tail {
  const file = join(directory, `name${files++}`);
  const lines = [
    'wormhole name 1',
    'name db.example:5432',
    ...addresses.map((address) => `address ${address}`),
    `until ${Number(process.hrtime.bigint() / 1_000_000n) + 3_600_000}`,
    'end',
    '',
  ];
  writeFileSync(file, lines.join('\n').padEnd(4096, '\0'));
  const names = ['--to-file', file, '--ask', join(directory, 'nobody'), '--name', 'db.example:5432'];
  return tailWith([...names, '--dial-timeout', '6', ...args]);
}

const local = (port: number) => `127.0.0.1:${port}`;

test('a tail with a name tries all its addresses before it gives a client back', async () => {
  const spare = tailTo((await named('spare')).port);
  const deaf = await deafTarget();
  for (const first of [freePort(), deaf.port]) {
    const tail = namedTail([local(first), local((await named('second')).port)]);
    const programs = await startAll([tail, spare]);
    const front = await frontTo([tail, spare], ['--balance', 'first'], () => '1 10');
    assert.equal(await namesOf(front.port, 3), ['second', 'second', 'second']);
    assert.not(/does not serve/.test(front.log()), front.log());
    for (const program of programs) program.kill('SIGKILL');
  }
});

test('a name whose addresses all refuse or hang costs a client no more than the attempts', async () => {
  const spare = tailTo((await named('spare')).port);
  await startAll([spare]);
  const deaf = await deafTarget();
  const lists = [[local(freePort()), local(freePort())], [local(deaf.port), `127.0.0.2:${deaf.port}`], []];
  for (const addresses of lists) {
    const tail = namedTail(addresses);
    await startAll([tail]);
    const front = await frontTo([tail, spare], ['--balance', 'first'], () => '1 10');
    assert.equal(await namesOf(front.port, 3), ['spare', 'spare', 'spare']);
    assert.match(front.log(), /does not serve: (db\.example:5432|no address of db\.example:5432)/);
  }
});

test('a check of a tail with a name is content with one of its addresses', async () => {
  const spare = tailTo((await named('spare')).port);
  const check = ['--check', '1'];
  const tail = namedTail([local(freePort()), local((await named('second')).port)], check);
  const down = namedTail([local(freePort()), local(freePort())], check);
  await startAll([spare, tail, down]);
  const front = await frontTo([down, tail, spare], ['--balance', 'first', ...check], () => '1 10');
  await becomes(async () => /tail t\d+: .*refused/.test(front.log()));
  await sleep(1500);
  assert.equal(await namesOf(front.port, 2), ['second', 'second']);
  assert.is(front.log().match(/new clients go to the others/g)?.length, 1);
});

test.run();
