import './own-state.ts';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import {
  createAt,
  deleteAt,
  listAt,
  ping,
  previewAt,
  reportAt,
  showAt,
  versionAt,
} from '../../src/api/client.ts';
import type { Failure } from '../../src/api/failure.ts';
import { ownIdentity } from '../../src/state/identity.ts';
import { apiSuite, context, daemon, fails, journal, local, socketPath, there } from './api-daemon.ts';

const test = apiSuite('the API on the wire');

test('all that the client can ask, over TLS and over the unix socket', async () => {
  for (const machine of [there(), local]) {
    const began = performance.now();
    const { milliseconds, machine: id } = await ping(machine);
    assert.ok(milliseconds > 0 && milliseconds <= performance.now() - began);
    assert.is(id, ownIdentity().id);
    assert.is((await createAt(machine, ['a', 'b'])).id, 'a-b');
    assert.equal(await previewAt(machine, ['a']), { files: [{ name: 'a', text: 'text' }] });
    assert.equal(await listAt(machine), { links: [], unreadable: [{ id: 'a', reason: 'b' }] });
    assert.equal(await reportAt(machine), { days: [] });
    await fails(showAt(machine, 'x y'), /cannot be the id of a link/);
    await fails(showAt(machine, 'x'), /^no link "x"$/);
    await deleteAt(machine, 'there');
    assert.equal((await versionAt(machine)).api, 1);
  }
});

test('the work is told who asks, and over which of our addresses', async () => {
  const asked = JSON.parse((await createAt(there(), ['a'])).url);
  const { id } = ownIdentity();
  assert.equal(asked, { kind: 'machine', id, address: '127.0.0.1', local: '127.0.0.1' });
  assert.equal(JSON.parse((await createAt(local, ['a'])).url), { kind: 'user', uid: process.getuid?.() });
});

test('failures arrive with their code and message', async () => {
  for (const machine of [there(), local]) {
    const error = await fails(createAt(machine, ['fail']), /^it is taken$/);
    assert.is((error as Failure).code, 'taken');
    assert.is(((await fails(deleteAt(machine, 'x'), /^no link "x"$/)) as Failure).code, 'not-found');
    assert.is(((await fails(deleteAt(machine, '../x'), /cannot be the id/)) as Failure).code, 'usage');
  }
});

test('each change is told in one line: who, what, and the result', async () => {
  await createAt(there(), ['url', ':80', 'with space', 'line\nbreak']);
  await createAt(local, ['fail']).catch(() => {});
  await deleteAt(there(), 'there');
  await listAt(there());
  await previewAt(there(), ['a']);
  assert.is(journal.length, 3, journal.join('\n'));
  assert.match(
    journal[0] ?? '',
    /^127\.0\.0\.1 \([0-9a-f]{8}\): create url :80 "with space" "line\\nbreak": created url-.* \(\d+\.\d s\)$/,
  );
  assert.match(journal[1] ?? '', /^uid \d+: create fail: taken: it is taken \(\d+\.\d s\)$/);
  assert.match(journal[2] ?? '', /^127\.0\.0\.1 \([0-9a-f]{8}\): delete there: done \(\d+\.\d s\)$/);
  await createAt(local, Array(60).fill('a word')).catch(() => {});
  assert.match(journal[3] ?? '', /^uid \d+: create (?:"a word" )+.*…: /);
  assert.ok((journal[3] ?? '').length < 900);
});

test('paths and methods that the API does not have', async () => {
  for (const path of [
    '/',
    '/v1',
    '/v1/',
    '/v2/ping',
    '/v1/links/',
    '/v1/links/a/b',
    '/v1/ping?x=1',
    '/constructor',
  ]) {
    const { status, body } = await ask('GET', path);
    assert.is(status, 404, path);
    assert.is(JSON.parse(body).error.code, 'not-found');
  }
  for (const [method, path, takes] of [
    ['POST', '/v1/ping', 'GET'],
    ['PUT', '/v1/links', 'GET and POST'],
    ['PUT', '/v1/links/80', 'GET and DELETE'],
    ['GET', '/v1/parts/80', 'PUT and DELETE'],
  ] as const) {
    const { status, body } = await ask(method, path);
    assert.is(status, 405);
    assert.equal(JSON.parse(body), {
      error: { code: 'usage', message: `${path} takes ${takes}, not ${method}` },
    });
  }
});

test('a deletion has a body or none, and tells what is left to those who send one', async () => {
  assert.is((await ask('DELETE', '/v1/links/there')).status, 204);
  for (const body of [{}, { volumes: true }]) {
    const answer = await ask('DELETE', '/v1/links/there', JSON.stringify(body));
    assert.is(answer.status, 200);
    assert.equal(JSON.parse(answer.body), { left: [] });
  }
  for (const [body, expected] of [
    [{ volumes: 'yes' }, /"volumes" must be true or false/],
    [{ volume: true }, /has a field "volume"/],
    [[], /must be a JSON object/],
  ] as const) {
    const { status, body: answer } = await ask('DELETE', '/v1/links/there', JSON.stringify(body));
    assert.is(status, 400);
    assert.match(JSON.parse(answer).error.message, expected);
  }
});

test('a user of this machine cannot negotiate a tunnel, only another machine can', async () => {
  const path = `/v1/tunnels/${'0'.repeat(16)}`;
  const pair = { local: '100.64.0.2', remote: '100.64.0.3' };
  const incoming = { spi: 256, key: '0'.repeat(72) };
  const proposal = { mode: 'esp', asked: true, keep: false, candidates: [pair], incoming };
  for (const [method, where, body] of [
    ['GET', '/v1/tunnels/shared', undefined],
    ['PUT', path, proposal],
    ['POST', `${path}/settle`, { spi: 256 }],
    ['DELETE', path, undefined],
  ] as const) {
    const answer = await ask(method, where, body && JSON.stringify(body));
    assert.is(answer.status, 403, `${method} ${where}`);
    assert.match(JSON.parse(answer.body).error.message, /^only another machine can negotiate a tunnel: /);
  }
});

test("parts of other machines' links", async () => {
  const key = '0'.repeat(32);
  const owner = { id: '80', machine: 'alpha' };
  const recipe = ['tail', 'docker-run', 'secret'];
  const connection = { local: '10.0.0.1', remote: '10.0.0.2' };
  const put = (path: string, body: object) => ask('PUT', `/v1/parts/${path}`, JSON.stringify(body));
  journal.length = 0;
  const made = await put(key, { recipe, owner, connection, options: { startTimeout: 5 } });
  assert.is(made.status, 200);
  assert.is(JSON.parse(made.body).id, `${key} 80`);
  assert.is((await ask('DELETE', `/v1/parts/${key}`)).status, 204);
  assert.is((await ask('DELETE', `/v1/parts/${'1'.repeat(32)}`)).status, 404);
  assert.match(journal[0] ?? '', /: create our part of link 80 of alpha, tail docker-run …: it is 0+ 80 /);
  for (const [path, body, expected] of [
    ['0'.repeat(31), { recipe, owner, connection }, /is not 32 hexadecimal digits/],
    [key, { recipe }, /"owner" is missing/],
    [key, { recipe, owner: { id: '80', machine: '../x' } }, /"owner.machine" must be a name/],
    [key, { recipe, owner: { id: '', machine: 'a' } }, /"owner.id" must be a name/],
    [key, { recipe: 'tail', owner }, /"recipe" must be an array/],
    [key, { recipe, owner, options: { dryRun: true } }, /"options" has a field "dryRun"/],
    [key, { recipe, owner }, /either "tunnel" or "connection" must be there/],
    [key, { recipe, owner, connection, tunnel: '0'.repeat(16) }, /either "tunnel" or "connection"/],
    [
      key,
      { recipe, owner, connection: { ...connection, local: 'here' } },
      /"connection.local" must be an IP/,
    ],
  ] as const) {
    const { status, body: answer } = await put(path, body);
    assert.is(status, 400);
    assert.match(JSON.parse(answer).error.message, expected);
  }
});

test('bodies that are no request', async () => {
  for (const [body, expected] of [
    ['', /is not JSON/],
    ['{', /is not JSON/],
    ['[]', /must be a JSON object/],
    ['{"recipe": "url"}', /"recipe" must be an array/],
    ['['.repeat(60_000), /is not JSON/],
  ] as const) {
    const answer = await ask('POST', '/v1/links', body);
    assert.is(answer.status, 400);
    assert.match(JSON.parse(answer.body).error.message, expected);
  }
  const unasked = await ask('GET', '/v1/ping', 'x', { 'content-length': 1 });
  assert.is(unasked.status, 400);
  assert.is(context.working, 0);
});

test('the longest body there may be, and one byte more', async () => {
  const body = (size: number) => {
    const empty = JSON.stringify({ recipe: [''] }).length;
    return JSON.stringify({ recipe: ['x'.repeat(size - empty)] });
  };
  assert.is((await ask('POST', '/v1/links', body(65_536))).status, 201);
  const over = await ask('POST', '/v1/links', body(65_537));
  assert.is(over.status, 413);
  assert.match(over.body, /the body is longer than 65536 bytes/);
  const chunked = await ask('POST', '/v1/links', body(65_537), { 'transfer-encoding': 'chunked' });
  assert.is(chunked.status, 413);
});

test('a body without an end is not read to its end', async () => {
  const socket = connect(socketPath);
  socket.on('error', () => {});
  socket.write('POST /v1/links HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n');
  let sent = 0;
  const more = () => {
    let hasRoom = true;
    while (!socket.destroyed && hasRoom) {
      hasRoom = socket.write(`4000\r\n${'x'.repeat(0x4000)}\r\n`);
      sent += 0x4000;
    }
  };
  socket.on('drain', more);
  more();
  await new Promise((resolve) => socket.on('close', resolve));
  assert.ok(sent > 65_536 && sent < 8_000_000, `${sent} bytes went through`);
});

test('while it works, the daemon says so', async () => {
  let open = () => {};
  daemon.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const signs: number[] = [];
  await new Promise<void>((resolve) => {
    const request = httpRequest(
      { socketPath, method: 'POST', path: '/v1/links', agent: false },
      (response) => {
        response.resume().on('end', resolve);
        assert.is(response.statusCode, 201);
      },
    );
    request.on('information', ({ statusCode }) => {
      signs.push(statusCode);
      open();
    });
    request.end('{"recipe": ["a"]}');
  });
  assert.equal(signs, [102]);
});

test('requests that wait behind another one end with their connection', async () => {
  let open = () => {};
  daemon.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const body = '{"recipe": ["a"]}';
  const socket = connect(socketPath);
  socket.write(
    `POST /v1/links HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}` +
      'GET /v1/links HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(5),
  );
  while (context.working < 6) await sleep(5);
  socket.destroy();
  open();
  const end = performance.now() + 20_000;
  while (context.working > 0 && performance.now() < end) await sleep(5);
  assert.is(context.working, 0);
});

test('the 65th request at a time is told to come again', async () => {
  let open = () => {};
  daemon.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const all = Array.from({ length: 64 }, (_, n) => createAt(local, [`n${n}`]));
  while (context.working < 64) await sleep(5);
  const error = await fails(createAt(there(), ['late']), /works on 64 requests already; try again later/);
  assert.is((error as Failure).code, 'busy');
  open();
  assert.is(new Set((await Promise.all(all)).map(({ id }) => id)).size, 64);
  await createAt(there(), ['later']);
});

test.run();

/** Asks over the unix socket in any way; resolves to status and body. */
function ask(
  method: string,
  path: string,
  body?: string,
  headers = {},
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    // Node frames the body of a DELETE by neither header (RFC 9112, 6.3).
    const length =
      body === undefined || method !== 'DELETE' ? {} : { 'content-length': Buffer.byteLength(body) };
    const options = { socketPath, method, path, headers: { ...length, ...headers }, agent: false };
    const request = httpRequest(options, async (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}
