import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { sendDescriptors } from '../../src/forwarder/store/descriptors.ts';
import {
  closeAll,
  collect,
  connect,
  deafTarget,
  freePort,
  load,
  serve,
  sleep,
  until,
} from './forwarder-launch.ts';
import {
  ask,
  directory,
  frontTo,
  named,
  namesOf,
  type Program,
  startAll,
  type Tail,
  tailTo,
  tailWith,
} from './tails.ts';
import { closeUnixSockets, unixSocket } from './unix-sockets.ts';

/* A link with several tails: a front, and a forwarder for each tail that it hands clients to. */

test.after.each(async () => {
  closeUnixSockets();
  await closeAll();
});

/** A tail on another machine, whose address is in a file that a service writes. */
function farTail(file: string, service: string): Tail {
  return tailWith(['--to-file', file, '--ask', service, '--place', 'machine beta', '--dial-timeout', '2']);
}

/** Waits until a client is answered by the server of that name. A paused tail gets its next client within 30 s. */
async function answersBecome(port: number, name: string): Promise<void> {
  const end = Date.now() + 120_000;
  while ((await namesOf(port, 1))[0] !== name) {
    if (Date.now() > end) throw new Error(`no answer of ${name}`);
    await sleep(50);
  }
}

test('clients are spread over two tails, and bytes pass in both directions', async () => {
  const [one, two] = [await named('one'), await named('two')];
  const tails = [tailTo(one.port), tailTo(two.port)];
  const programs = await startAll(tails);
  const front = await frontTo(tails);
  const open = [];
  for (let n = 0; n < 6; n++) open.push(await ask(front.port));
  assert.equal(open.map(({ name }) => name).sort(), ['one', 'one', 'one', 'two', 'two', 'two']);
  const bytes = randomBytes(3_000_000);
  for (const { socket } of open) {
    const heard = collect(socket);
    socket.end(bytes);
    const { bytes: got, how } = await heard;
    assert.ok(got.equals(bytes), `${got.length} bytes came back of ${bytes.length}`);
    assert.is(how, 'end');
  }
  // The front has nothing of its clients left, but its listener and its connections to the tails.
  await until(() => front.descriptors('socket') === 3);
  assert.is(front.log() + programs.map((program) => program.log()).join(''), '');
  for (const program of [front, ...programs]) assert.ok((await load(program as never)) < 0.1);
});

test('a tail that refuses is skipped, and gets its share again after its return', async () => {
  const port = freePort();
  const [down, up] = [tailTo(port), tailTo((await named('up')).port)];
  await startAll([down, up]);
  const front = await frontTo([down, up], ['--balance', 'first']);
  assert.equal([...new Set(await namesOf(front.port, 20))], ['up']);
  assert.match(front.log(), new RegExp(`tail ${down.name} does not serve: 127.0.0.1:${port} refused`));
  await named('back', port);
  await answersBecome(front.port, 'back');
  // A dial that began before may fail later, and pause it once more.
  const end = Date.now() + 120_000;
  let names: string[];
  do names = [...new Set(await namesOf(front.port, 20))];
  while (`${names}` !== 'back' && Date.now() < end);
  assert.equal(names, ['back']);
  assert.match(front.log(), new RegExp(`tail ${down.name} accepts again`));
});

test('a client that a tail has refused does not count as a session', async () => {
  const [down, up] = [tailTo(freePort()), tailTo((await named('up')).port)];
  await startAll([down, up]);
  const front = await frontTo([down, up], ['--balance', 'first', '--max-connections', '1']);
  for (let n = 0; n < 4; n++) assert.equal(await namesOf(front.port, 1), ['up']);
  assert.not.match(front.log(), /has waited/);
});

test('a client whose first bytes are there before any tail accepts loses none of them', async () => {
  const ports = [freePort(), freePort()];
  const tails = ports.map((port) => tailTo(port));
  for (const tail of tails) tail.start();
  const front = await frontTo(tails, ['--dial-timeout', '60']);
  const socket = await connect(front.port);
  const bytes = randomBytes(100_000);
  const heard = collect(socket);
  socket.end(bytes);
  await until(() => /refused/.test(front.log()));
  await serve((client) => client.pipe(client), ports[1]);
  const { bytes: got, how } = await heard;
  assert.ok(got.equals(bytes), `${got.length} bytes came back of ${bytes.length}`);
  assert.is(how, 'end');
});

test('a target that does not answer is left for the next one', async () => {
  const deaf = await deafTarget();
  const [silent, other] = [tailTo(deaf.port), tailTo((await named('other')).port)];
  await startAll([silent, other]);
  const front = await frontTo([silent, other], ['--balance', 'first']);
  assert.equal(await namesOf(front.port, 2), ['other', 'other']);
  assert.match(front.log(), /did not answer/);
});

test('a forwarder that is stopped, and one that is killed with clients in its queue, lose no client', async () => {
  const [one, two] = [await named('one'), await named('two')];
  const tails = [tailTo(one.port), tailTo(two.port)];
  const [first] = await startAll(tails);
  const front = await frontTo(tails, ['--balance', 'first', '--dial-timeout', '60'], () => '1 1');
  // Where a second is nothing, the first tail may be given up once.
  await answersBecome(front.port, 'one');
  first?.kill('SIGSTOP');
  const waiting = Array.from({ length: 10 }, () => ask(front.port));
  // After a second, all of them are taken back.
  assert.equal([...new Set((await Promise.all(waiting)).map(({ name }) => name))], ['two']);
  assert.match(front.log(), /its forwarder did not answer for 1 s/);
  // When it goes on, it finds the clients in its queue, and that they are not its own any more.
  first?.kill('SIGCONT');
  await answersBecome(front.port, 'one');
  first?.kill('SIGSTOP');
  const others = Array.from({ length: 10 }, () => ask(front.port));
  first?.kill('SIGKILL');
  // Its socket still listens, as that of systemd does, and the next forwarder serves who comes.
  tails[0]?.start();
  assert.is((await Promise.all(others)).length, 10);
});

test('sessions go on when the front is killed, and a new front learns of them', async () => {
  const [one, two] = [await named('one'), await named('two')];
  const tails = [tailTo(one.port), tailTo(two.port)];
  await startAll(tails);
  const front = await frontTo([...tails]);
  const open = await Promise.all(Array.from({ length: 8 }, () => ask(front.port)));
  const busy = open.filter(({ name }) => name === 'one');
  assert.is(busy.length, 4);
  // A reset ends a session at once; when the target has seen it, the tail has counted it.
  for (const { socket, name } of open) if (name === 'two') socket.resetAndDestroy();
  const isLeft = () => new Promise((resolve) => two.server.getConnections((_, count) => resolve(count > 0)));
  while (await isLeft()) await sleep(10);
  front.kill('SIGKILL');
  await front.exited;
  for (const { socket } of busy) {
    socket.write('still here');
    assert.is(`${(await once(socket, 'data'))[0]}`, 'still here');
  }
  const next = await frontTo(tails);
  // The first client makes it learn what the first tail has; the next four go to the second one.
  const names = [];
  for (let n = 0; n < 5; n++) names.push((await ask(next.port)).name);
  assert.is(names.filter((name) => name === 'two').length, 4);
});

test('a front that is stopped hands over the clients that it has accepted', async () => {
  const port = freePort();
  const tail = tailTo(port);
  tail.start();
  const front = await frontTo([tail], ['--dial-timeout', '60']);
  const socket = await connect(front.port);
  await until(() => /refused/.test(front.log()));
  front.kill('SIGTERM');
  await named('late', port);
  assert.is(`${(await once(socket, 'data'))[0]}`, 'late\n');
  assert.is(await front.exited, 0);
});

test('forwarders of tails die and hang at any moment: no client is served twice, and none hangs', async () => {
  const heard: string[] = [];
  const servers = await Promise.all(
    [0, 1].map(() =>
      serve((socket) =>
        socket.once('data', (id) => {
          heard.push(`${id}`);
          socket.end(`answer ${id}`);
        }),
      ),
    ),
  );
  const tails = servers.map(({ port }) => tailTo(port));
  const programs = tails.map((tail) => tail.start());
  const front = await frontTo(tails, ['--dial-timeout', '60'], () => '1 1');
  const ends = new Map<string, number>();
  let clients = 0;
  let isOver = false;
  const client = async (): Promise<void> => {
    while (!isOver) {
      const id = `${clients++}`;
      const socket = net.connect(front.port, '127.0.0.1');
      const answer = collect(socket);
      socket.write(id);
      const { bytes, how } = await answer;
      const end = `${bytes}` === `answer ${id}` ? 'answered' : `${bytes}` === '' ? how : `"${bytes}"`;
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
  };
  const all = Array.from({ length: 32 }, client);
  for (let n = 0; n < 12; n++) {
    const before = ends.get('answered') ?? 0;
    await sleep(150);
    // However long the forwarder takes to start that has been killed last.
    await until(() => (ends.get('answered') ?? 0) >= before + 60);
    const at = n % 2;
    // Every third time it is stopped, so that clients are in its queue, and then taken back from it.
    if (n % 3 === 0) {
      programs[at]?.kill('SIGSTOP');
      await sleep(1200);
    }
    if (n % 3 === 1) programs[at]?.kill('SIGCONT');
    programs[at]?.kill(n % 3 === 0 ? 'SIGCONT' : 'SIGKILL');
    if (n % 3 === 0) continue;
    await programs[at]?.exited;
    programs[at] = tails[at]?.start() as Program;
  }
  isOver = true;
  await Promise.all(all);
  assert.is(new Set(heard).size, heard.length, 'a client has been served twice');
  // A session that a forwarder had accepted when it was killed is reset. Nothing else fails.
  const { answered = 0, ...others } = Object.fromEntries(ends);
  assert.equal(
    Object.keys(others).filter((end) => end !== 'ECONNRESET'),
    [],
  );
  assert.ok(answered > 500, `${answered} answered`);
  assert.ok((others.ECONNRESET ?? 0) <= 8 * 32, `${others.ECONNRESET} were reset`);
});

test('a full tail refuses, and the others take over', async () => {
  const [one, two] = [await named('one'), await named('two')];
  const tails = [tailTo(one.port, ['--max-connections', '2']), tailTo(two.port)];
  await startAll(tails);
  const front = await frontTo(tails, ['--balance', 'first']);
  const found = [];
  for (let n = 0; n < 5; n++) found.push((await ask(front.port)).name);
  assert.equal(found, ['one', 'one', 'two', 'two', 'two']);
});

test('drained tails get no new client, and their sessions go on', async () => {
  const [one, two] = [await named('one'), await named('two')];
  const tails = [tailTo(one.port), tailTo(two.port)];
  await startAll(tails);
  const file = join(directory, 'drained');
  const front = await frontTo(tails, ['--drained', tails[1]?.name ?? '', '--drained-file', file]);
  assert.equal([...new Set(await namesOf(front.port, 4))], ['one']);
  const open = await ask(front.port);
  writeFileSync(file, `${tails[0]?.name}\n`);
  assert.equal([...new Set(await namesOf(front.port, 4))], ['two']);
  open.socket.write('still here');
  assert.is(`${(await once(open.socket, 'data'))[0]}`, 'still here');
  writeFileSync(file, tails.map(({ name }) => `${name}\n`).join(''));
  const { how } = await collect(net.connect(front.port, '127.0.0.1'));
  assert.is(how, 'ECONNRESET');
  await until(() => /all its tails are drained/.test(front.log()));
});

test('unhealthy tails get no new client as long as another one serves, and their sessions go on', async () => {
  const tails = [tailTo((await named('one')).port), tailTo((await named('two')).port)];
  await startAll(tails);
  const file = join(directory, 'unhealthy');
  const front = await frontTo(tails, ['--balance', 'first', '--unhealthy-file', file]);
  const open = await ask(front.port);
  assert.is(open.name, 'one');
  writeFileSync(file, `${tails[0]?.name}\n`);
  assert.equal([...new Set(await namesOf(front.port, 4))], ['two']);
  open.socket.write('still here');
  assert.is(`${(await once(open.socket, 'data'))[0]}`, 'still here');
  writeFileSync(file, tails.map(({ name }) => `${name}\n`).join(''));
  assert.equal([...new Set(await namesOf(front.port, 4))], ['one']);
  writeFileSync(file, '');
  assert.equal([...new Set(await namesOf(front.port, 4))], ['one']);
});

test('a tail keeps no descriptor of a message that it does not understand, or that has too many', async () => {
  const tail = tailTo(freePort());
  const program = tail.start();
  const front = unixSocket('unixpacket').connect(tail.path);
  await until(() => front.receive() !== undefined);
  const before = program.descriptors('socket');
  const many = Array.from({ length: 50 }, () => front.fd);
  const words = (magic: number) => Buffer.from(Int32Array.of(magic, 1, 1, 0).buffer);
  // The magic number of an offer whose client refuses to be read, then one of another version.
  assert.is(sendDescriptors(front.fd, words(0x314f4857), many), 0);
  assert.is(sendDescriptors(front.fd, words(0x324f4857), many), 0);
  // The listener stays.
  await until(() => program.descriptors('socket') === 1);
  assert.is(before, 2);
});

test('a tail whose socket is closed is skipped, and the journal names its unit', async () => {
  const gone: Tail = {
    name: 'gone',
    path: join(directory, 'x-to-gone'),
    start: () => assert.unreachable() as never,
  };
  const here = tailTo((await named('here')).port);
  await startAll([here]);
  const front = await frontTo([gone, here], ['--balance', 'first']);
  assert.equal(await namesOf(front.port, 2), ['here', 'here']);
  assert.match(
    front.log(),
    /tail gone does not serve: .*ENOENT.*systemctl status wormhole-front-to-gone\.socket/,
  );
});

test('when all tails refuse, the client is reset after the timeout, with a reason', async () => {
  const tails = [tailTo(freePort()), tailTo(freePort())];
  await startAll(tails);
  const front = await frontTo(tails, ['--dial-timeout', '3']);
  const { how } = await collect(net.connect(front.port, '127.0.0.1'));
  assert.is(how, 'ECONNRESET');
  assert.match(front.log(), /no tail has accepted: 127.0.0.1:\d+ refused/);
  await until(() => front.descriptors('socket') === 3);
});

test('a machine that accepts and then resets its clients gets few of them until it has served one', async () => {
  let isDown = true;
  // The forwarder of another machine, which accepts before its own target does.
  const far = await serve((socket) => {
    if (isDown) socket.once('data', () => socket.resetAndDestroy());
    else socket.write('far\n');
  });
  const [file, service] = [join(directory, 'far'), join(directory, 'far.sock')];
  writeFileSync(file, `127.0.0.1:${far.port}\n`);
  const asked = net.createServer((question) => {
    writeFileSync(file, `127.0.0.1:${far.port}\n${isDown ? 'the database refused' : ''}`);
    question.destroy();
  });
  asked.listen(service);
  await once(asked, 'listening');
  const [remote, here] = [farTail(file, service), tailTo((await named('here')).port)];
  await startAll([remote, here]);
  const front = await frontTo([remote, here], ['--balance', 'first']);
  const say = async (): Promise<string> => {
    const socket = net.connect(front.port, '127.0.0.1');
    socket.write('hello');
    const answer = await Promise.race([
      once(socket, 'data').then(([chunk]) => `${chunk}`.split('\n')[0] ?? ''),
      once(socket, 'close').then(() => 'reset'),
    ]).catch(() => 'reset');
    socket.destroy();
    return answer;
  };
  const began = Date.now();
  assert.is(await say(), 'reset');
  await until(() => front.log().includes(`tail ${remote.name} does not serve`));
  assert.match(front.log(), /says: the database refused/);
  const answers = [];
  for (let n = 0; n < 50; n++) answers.push(await say());
  // The pauses between its clients are 0.5, 1 and 2 s, and then up to 5 s.
  const most = 2 + Math.floor((Date.now() - began) / 3500);
  assert.ok(answers.filter((answer) => answer === 'reset').length <= most, `${answers}`);
  isDown = false;
  const end = Date.now() + 120_000;
  while (!front.log().includes(`tail ${remote.name} accepts again`)) {
    assert.ok(Date.now() < end, front.log());
    await say();
    await sleep(20);
  }
  assert.equal([await say(), await say()], ['far', 'far']);
  asked.close();
});

test('an active check takes a tail out before a client meets it, and brings it back', async () => {
  const port = freePort();
  const [down, up] = [tailTo(port, ['--check', '1']), tailTo((await named('up')).port, ['--check', '1'])];
  await startAll([down, up]);
  const front = await frontTo([down, up], ['--balance', 'first', '--check', '1']);
  await until(() => /new clients go to the others/.test(front.log()));
  assert.equal(await namesOf(front.port, 3), ['up', 'up', 'up']);
  assert.not.match(front.log(), /does not serve/);
  await named('back', port);
  await until(() => /accepts again/.test(front.log()));
  assert.equal(await namesOf(front.port, 3), ['back', 'back', 'back']);
});

test.run();
