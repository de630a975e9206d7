import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createAt, deleteAt, listAt, ping, planAt, versionAt } from '../../src/control/api/client.ts';
import { connectMachine, type Machine } from '../../src/control/api/connect.ts';
import { Failure } from '../../src/control/api/failure.ts';
import { readKeys } from '../../src/control/api/key.ts';
import type { Desk } from '../../src/control/api/serve.ts';
import { createServers } from '../../src/control/api/servers.ts';
import { clientTls, provedKey } from '../../src/control/api/tls.ts';

const directory = mkdtempSync(join(tmpdir(), 'wormhole-wire-'));
const keyFile = join(directory, 'key');
const socketPath = join(directory, 'socket');
const [KEY, OTHER] = ['the key that both have', 'the key of somebody else'];

const journal: string[] = [];
const refused: string[] = [];
/** What the daemon's work waits for, and how much of it has ended. */
let gate: Promise<unknown> = Promise.resolve();
let ended = 0;

const desk: Desk = {
  working: 0,
  rest() {},
  log: { info: (line) => journal.push(line), warn: (line) => journal.push(line) },
  carryOut: {
    async create({ recipe }, caller) {
      await gate;
      ended++;
      if (recipe[0] === 'fail') throw new Failure('taken', 'it is taken');
      return { id: recipe.join('-').replace(/\s/g, '_'), url: JSON.stringify(caller) };
    },
    plan: async ({ recipe }) => ({ files: [{ name: recipe.join('-'), text: 'text' }] }),
    remove: async (id) => {
      if (id !== 'there') throw new Failure('not-found', `no link "${id}"`);
    },
    list: async () => ({ links: [], unreadable: [{ id: 'a', reason: 'b' }] }),
  },
};
const servers = createServers(desk, () => readKeys(keyFile), {
  note: (address, reason) => refused.push(`${address} ${reason}`),
  flush() {},
});

let port = 0;
const there = (key = KEY): Machine => ({
  address: { kind: 'tcp', host: '127.0.0.1', port },
  keyFile: keyFileOf(key),
});
const local: Machine = { address: { kind: 'unix', path: socketPath }, keyFile: '/nowhere' };

function keyFileOf(...keys: string[]): string {
  const file = join(directory, `key-${keys.join('-').replaceAll(' ', '')}`);
  writeFileSync(file, `${keys.join('\n')}\n`, { mode: 0o600 });
  return file;
}

async function fails(work: Promise<unknown>, expected: RegExp): Promise<Error> {
  const outcome = await work.then(
    () => new Error('it did not fail'),
    (error: Error) => error,
  );
  assert.match(outcome.message, expected);
  return outcome;
}

/** Asks over the unix socket in any way; resolves to status and body. */
function ask(
  method: string,
  path: string,
  body?: string,
  headers = {},
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, method, path, headers, agent: false }, async (response) => {
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

const test = suite('the API on the wire');

test.before(async () => {
  writeFileSync(keyFile, `${KEY}\n`, { mode: 0o600 });
  await once(servers.make('tcp').listen(0, '127.0.0.1'), 'listening');
  const probe = servers.make('tcp').listen(0, '127.0.0.1');
  await once(probe, 'listening');
  port = (probe.address() as AddressInfo).port;
  await once(servers.make('unix').listen(socketPath), 'listening');
});

test.before.each(() => {
  writeFileSync(keyFile, `${KEY}\n`);
  journal.length = 0;
  refused.length = 0;
  gate = Promise.resolve();
});

test.after(() => {
  rmSync(directory, { recursive: true });
  servers.close();
});

test('all that the client can ask, over TLS and over the unix socket', async () => {
  for (const machine of [there(), local]) {
    assert.ok((await ping(machine)) < 1000);
    assert.is((await createAt(machine, ['a', 'b'])).id, 'a-b');
    assert.equal(await planAt(machine, ['a']), { files: [{ name: 'a', text: 'text' }] });
    assert.equal(await listAt(machine), { links: [], unreadable: [{ id: 'a', reason: 'b' }] });
    await deleteAt(machine, 'there');
    assert.equal((await versionAt(machine)).api, 1);
  }
});

test('the work is told who asks, and over which of our addresses', async () => {
  const asked = JSON.parse((await createAt(there(), ['a'])).url);
  assert.equal(asked, { kind: 'machine', address: '127.0.0.1', local: '127.0.0.1' });
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
  await planAt(there(), ['a']);
  assert.is(journal.length, 3, journal.join('\n'));
  assert.match(
    journal[0] ?? '',
    /^127\.0\.0\.1: create url :80 "with space" "line\\nbreak": made url-.* \(0\.0 s\)$/,
  );
  assert.match(journal[1] ?? '', /^uid \d+: create fail: taken: it is taken \(0\.0 s\)$/);
  assert.match(journal[2] ?? '', /^127\.0\.0\.1: delete there: done \(0\.0 s\)$/);
  await createAt(local, Array(60).fill('a word')).catch(() => {});
  assert.ok((journal[3] ?? '').length < 900);
});

test('another key is refused, and told nothing; so are right words about a wrong secret', async () => {
  const seen = new Set<string>();
  await fails(
    ping(there(OTHER)),
    /does not accept our key, or we not its: both need the same line in .*key-the/,
  );
  const [right] = readKeys(keyFile);
  for (const identity of [right.identity, 'wormhole-0000000000000000', 'x'.repeat(100)]) {
    const socket = connectTls({
      ...clientTls({ identity, secret: randomBytes(32) }),
      port,
      host: '127.0.0.1',
    });
    const [error] = await once(socket, 'error');
    seen.add(`${error.code} ${error.reason}`);
  }
  assert.equal([...seen], ['ERR_SSL_SSLV3_ALERT_ILLEGAL_PARAMETER sslv3 alert illegal parameter']);
  assert.equal(new Set(refused), new Set(['127.0.0.1 has another key']));
});

test('nothing but TLS 1.3 with a key gets as far as HTTP', async () => {
  const attempts: [Record<string, unknown>, RegExp][] = [
    [{ pskCallback: undefined }, /proves no key/],
    [{ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }, /speaks an older TLS than 1\.3/],
    [{ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', ciphers: 'ECDHE-PSK-CHACHA20-POLY1305' }, /older TLS/],
    [{ ciphers: 'TLS_AES_256_GCM_SHA384' }, /./],
  ];
  for (const [changed, expected] of attempts) {
    refused.length = 0;
    const socket = connectTls({ ...clientTls(readKeys(keyFile)[0]), port, host: '127.0.0.1', ...changed });
    const [error] = await once(socket, 'error');
    assert.ok(error, JSON.stringify(changed));
    await sleep(50);
    assert.match(refused.join(), expected);
  }
  for (const [words, expected] of [
    ['GET /v1/ping HTTP/1.1\r\nhost: a\r\n\r\n', /does not speak TLS/],
    [randomBytes(1000).toString('latin1'), /TLS|went away/],
    ['', /went away/],
  ] as const) {
    refused.length = 0;
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('latin1').on('data', (chunk) => {
      answer += chunk;
    });
    socket.on('error', () => {});
    socket.end(words, 'latin1');
    await once(socket, 'close');
    assert.not.match(answer, /HTTP/);
    await sleep(50);
    assert.match(refused.join(), expected);
  }
});

test('a key can be changed without downtime, and counts no more once it is gone', async () => {
  const [one, other] = [there(KEY), there(OTHER)];
  for (const [keys, good, bad] of [
    [[KEY, OTHER], [one, other], []],
    [[OTHER, KEY], [one, other], []],
    [[OTHER], [other], [one]],
  ] as [string[], Machine[], Machine[]][]) {
    writeFileSync(keyFile, keys.join('\n'));
    for (const machine of good) await ping(machine);
    for (const machine of bad) await fails(ping(machine), /does not accept our key/);
  }
  await fails(ping({ ...there(), keyFile: keyFileOf(KEY, OTHER) }), /does not accept our key/);
  await ping({ ...there(), keyFile: keyFileOf(OTHER, KEY) });
});

test('a session cannot be taken up again once its key is gone', async () => {
  const settings = { ...clientTls(readKeys(keyFile)[0]), port, host: '127.0.0.1' };
  const first = connectTls(settings);
  const tickets: Buffer[] = [];
  first.on('session', (ticket: Buffer) => tickets.push(ticket));
  await once(first, 'secureConnect');
  first.write('GET /v1/ping HTTP/1.1\r\nhost: a\r\n\r\n');
  await once(first, 'data');
  first.destroy();
  writeFileSync(keyFile, OTHER);
  assert.ok(tickets.length > 0, 'the server gives tickets away');
  for (const session of tickets) {
    const again = connectTls({ ...settings, pskCallback: undefined, session } as typeof settings);
    const outcome = await Promise.race([once(again, 'error'), once(again, 'secureConnect')]);
    again.destroy();
    assert.match(outcome[0]?.code ?? 'it was', /ERR_SSL/);
  }
});

test('a key file that cannot be used refuses everybody, and comes back to life with the file', async () => {
  rmSync(keyFile);
  await fails(ping(there()), /does not accept our key/);
  assert.match(refused.join('\n'), /^everybody cannot be told from strangers: no key file/m);
  writeFileSync(keyFile, KEY, { mode: 0o600 });
  await ping(there());
});

test('a server that has a certificate but not the key is not trusted', async () => {
  const files = [join(directory, 'tls-key.pem'), join(directory, 'tls-cert.pem')] as const;
  const args = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-subj',
    '/CN=127.0.0.1',
  ];
  execFileSync(
    'openssl',
    [...args, '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', files[0], '-out', files[1]],
    {
      stdio: 'ignore',
    },
  );
  const [key, cert] = files.map((file) => readFileSync(file));
  let heard = '';
  const liar = createTlsServer({ key, cert } as { key: Buffer; cert: Buffer }, (socket: TLSSocket) => {
    socket.on('data', (chunk) => {
      heard += chunk;
    });
    socket.on('error', () => {});
  }).listen(0, '127.0.0.1');
  liar.on('tlsClientError', () => {});
  await once(liar, 'listening');
  const address = { kind: 'tcp', host: '127.0.0.1', port: (liar.address() as AddressInfo).port } as const;
  await fails(createAt({ ...there(), address }, ['a']), /does not accept our key, or we not its/);
  assert.is(heard, '', 'it was told nothing');
  // Not even when its certificate is one that we would trust.
  const socket = connectTls({
    ...clientTls(readKeys(keyFile)[0]),
    port: address.port,
    host: '127.0.0.1',
    ca: cert,
  });
  await once(socket, 'secureConnect');
  assert.ok(socket.authorized);
  assert.not(provedKey(socket));
  socket.destroy();
  liar.close();
});

test('what is not there, or is no wormholed, is told in one line', async () => {
  const tcp = (host: string, at: number): Machine => ({
    ...there(),
    address: { kind: 'tcp', host, port: at },
  });
  await fails(ping(tcp('127.0.0.1', 1)), /^no daemon at tcp:\/\/127\.0\.0\.1:1, the connection is refused/);
  await fails(
    ping(tcp('no-such-machine.invalid', 1)),
    /^there is no machine "no-such-machine.invalid" to be found/,
  );
  await fails(
    ping({ ...local, address: { kind: 'unix', path: join(directory, 'none') } }),
    /^no daemon at unix:\/\//,
  );
  await fails(ping({ ...there(), keyFile: '/nowhere/key' }), /^no key file \/nowhere\/key/);
  for (const [behave, expected] of [
    [(socket: Socket) => socket.destroy(), /closes the connection at once: it is no wormholed/],
    [(socket: Socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n'), /does not speak TLS: it is no wormholed/],
    [() => {}, /does not answer \(waited 5 s\)/],
  ] as [(socket: Socket) => void, RegExp][]) {
    const other = createServer((socket) => {
      socket.on('error', () => {});
      behave(socket);
    }).listen(0, '127.0.0.1');
    await once(other, 'listening');
    await fails(ping(tcp('127.0.0.1', (other.address() as AddressInfo).port)), expected);
    other.close();
  }
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
    ['GET', '/v1/links/80', 'DELETE'],
  ] as const) {
    const { status, body } = await ask(method, path);
    assert.is(status, 405);
    assert.equal(JSON.parse(body), {
      error: { code: 'usage', message: `${path} takes ${takes}, not ${method}` },
    });
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
  assert.is(desk.working, 0);
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
    while (!socket.destroyed && socket.write(`4000\r\n${'x'.repeat(0x4000)}\r\n`)) sent += 0x4000;
  };
  socket.on('drain', more);
  more();
  await new Promise((resolve) => socket.on('close', resolve));
  assert.ok(sent < 8_000_000, `${sent} bytes went through`);
});

test('while it works, the daemon says so', async () => {
  gate = sleep(3_500);
  const signs: number[] = [];
  await new Promise<void>((resolve) => {
    const request = httpRequest(
      { socketPath, method: 'POST', path: '/v1/links', agent: false },
      (response) => {
        response.resume().on('end', resolve);
        assert.is(response.statusCode, 201);
      },
    );
    request.on('information', ({ statusCode }) => signs.push(statusCode));
    request.end('{"recipe": ["a"]}');
  });
  assert.equal(signs, [102]);
});

test('a client waits for work that takes long, and not for a daemon that says nothing', async () => {
  gate = sleep(13_500);
  const mute = createServer((socket) => socket.on('error', () => {})).listen(join(directory, 'mute'));
  await once(mute, 'listening');
  const address = { kind: 'unix', path: join(directory, 'mute') } as const;
  await Promise.all([
    createAt(there(), ['a']),
    fails(createAt({ ...local, address }, ['a']), /mute has said nothing for 12 s: is it still there\?$/),
  ]);
  mute.close();
});

test('work is brought to its end when the caller goes away', async () => {
  let open = () => {};
  gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const before = ended;
  const socket = await connectMachine(there());
  socket.write('POST /v1/links HTTP/1.1\r\nhost: a\r\ncontent-length: 17\r\n\r\n{"recipe": ["a"]}');
  while (desk.working === 0) await sleep(5);
  socket.destroy();
  await sleep(50);
  assert.is(desk.working, 1);
  open();
  while (desk.working > 0) await sleep(5);
  assert.is(ended, before + 1);
  assert.match(journal.join(), /: create a: made a .*; the caller had gone away\)$/);
});

test('the 65th request at a time is told to come again', async () => {
  let open = () => {};
  gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const all = Array.from({ length: 64 }, (_, n) => createAt(local, [`n${n}`]));
  while (desk.working < 64) await sleep(5);
  const error = await fails(createAt(there(), ['late']), /works on 64 requests already; try again later/);
  assert.is((error as Failure).code, 'busy');
  open();
  assert.is(new Set((await Promise.all(all)).map(({ id }) => id)).size, 64);
  await createAt(there(), ['later']);
});

test('a daemon that falls silent, or goes away, is told from one that fails', async () => {
  const dying = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.destroy());
  }).listen(join(directory, 'dying'));
  await once(dying, 'listening');
  const machine: Machine = { ...local, address: { kind: 'unix', path: join(directory, 'dying') } };
  await fails(createAt(machine, ['a']), /has gone away before it answered/);
  dying.close();
  const odd = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'));
  }).listen(join(directory, 'odd'));
  await once(odd, 'listening');
  await fails(
    createAt({ ...local, address: { kind: 'unix', path: join(directory, 'odd') } }, ['a']),
    /gives an answer \(200\) that is no wormholed's/,
  );
  odd.close();
});

test('a hundred half-open connections from one address: 32 are kept, and a good client gets through', async () => {
  const half = Array.from({ length: 100 }, () => connect(port, '127.0.0.1').on('error', () => {}));
  await Promise.all(half.map((socket) => once(socket, 'connect')));
  for (let n = 0; n < 5; n++) await ping(there());
  assert.is(half.filter(({ closed }) => !closed).length <= 32, true);
  assert.ok(servers.open() < 40, `${servers.open()} open`);
  for (const socket of half) socket.destroy();
});

test.run();
