import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as v from 'valibot';
import {
  createEtcdClient,
  EtcdFault,
  NoAnswer,
  readBody,
  readResponse,
} from '../../src/registry/etcd/client.ts';
import type { EtcdConfig } from '../../src/registry/etcd/config.ts';
import { base64, lookUpInEtcd, machineText } from '../../src/registry/etcd/machines.ts';
import { registerInEtcd, requireOwnAddress } from '../../src/registry/etcd/register.ts';

/* What is said to the nodes of etcd, and what becomes of their answers. The lab does the same with a real etcd. */

interface Request {
  method: string;
  path: string;
  type: string | undefined;
  token: string | undefined;
  body: unknown;
}

/** What a node answers to a request: the status and the body. */
type Answer = (request: Request) => { status?: number; text: string };

const servers: http.Server[] = [];
const directory = mkdtempSync(join(tmpdir(), 'wormhole-etcd-'));
const leaseFile = join(directory, 'run/lease');
test.after.each(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(join(directory, 'run'), { recursive: true, force: true });
});
test.after(() => rmSync(directory, { recursive: true }));

/** A node that answers so; `requests` are those that it has had. */
async function node(answer: Answer | undefined): Promise<{ url: URL; requests: Request[] }> {
  const requests: Request[] = [];
  const server = http.createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      const { 'content-type': type, authorization: token } = request.headers;
      const told = {
        method: request.method ?? '',
        path: request.url ?? '',
        type,
        token,
        body: JSON.parse(text),
      };
      requests.push(told);
      const said = answer?.(told);
      if (said === undefined) return;
      response.writeHead(said.status ?? 200);
      response.end(said.text);
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`), requests };
}

const tokenFile = join(directory, 'run/token');
const configOf = (...endpoints: URL[]): EtcdConfig => ({
  ...{ endpoints, prefix: '/w/', address: '10.0.0.9', tokenFile },
});
const said = (value: unknown, status = 200) => ({ status, text: JSON.stringify(value) });

async function fails(promise: Promise<unknown>, message: RegExp | string): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, EtcdFault);
  const text = (error as Error).message;
  assert.not(text.includes('\n'));
  if (typeof message === 'string') assert.is(text, message);
  else assert.match(text, message);
}

/** A client that waits however slow this machine is, which is client and node. */
const clientOf = (config: EtcdConfig) => createEtcdClient(config, 60_000);

test('a request is a POST of JSON, and the address that faces the node is known from then on', async () => {
  const { url, requests } = await node(() => said({ x: 1 }));
  const client = clientOf(configOf(url));
  assert.is(client.localAddress(), undefined);
  assert.equal(await client.call('/v3/kv/range', { key: 'a' }, v.object({ x: v.number() })), { x: 1 });
  assert.equal(requests, [
    { method: 'POST', path: '/v3/kv/range', type: 'application/json', token: undefined, body: { key: 'a' } },
  ]);
  assert.is(client.localAddress(), '127.0.0.1');
});

test('with a user, one token is fetched for all requests, and kept for the next process', async () => {
  let tokens = 1;
  const { url, requests } = await node(({ path, token }) => {
    if (path.endsWith('authenticate')) return said({ token: `t${tokens}` });
    return token === `t${tokens}` ? said({}) : said({ error: 'invalid auth token' }, 401);
  });
  const asked = () => requests.splice(0).map(({ path, token, body }) => [path, token, body]);
  const login = { name: 'u', password: 'p' };
  const fetched = ['/v3/auth/authenticate', undefined, login];
  const client = clientOf({ ...configOf(url), login });
  await client.call('/a', {}, v.unknown());
  await client.call('/b', {}, v.unknown());
  assert.equal(asked(), [fetched, ['/a', 't1', {}], ['/b', 't1', {}]]);
  assert.is(statSync(tokenFile).mode & 0o777, 0o600);
  await clientOf({ ...configOf(url), login }).call('/c', {}, v.unknown());
  assert.equal(asked(), [['/c', 't1', {}]]);
  // etcd has forgotten it.
  tokens = 2;
  await clientOf({ ...configOf(url), login }).call('/d', {}, v.unknown());
  assert.equal(asked(), [['/d', 't1', {}], fetched, ['/d', 't2', {}]]);
  // A token of another password is not used.
  const other = { name: 'u', password: 'q' };
  await clientOf({ ...configOf(url), login: other }).call('/e', {}, v.unknown());
  assert.equal(asked(), [
    ['/v3/auth/authenticate', undefined, other],
    ['/e', 't2', {}],
  ]);
});

test('a node that does not answer, or has no leader, is passed over, and not asked first again', async () => {
  const gone = new URL('http://127.0.0.1:1');
  const leaderless = await node(() => said({ error: 'no leader' }, 503));
  const garbage = await node(() => ({ text: '<html>' }));
  const good = await node(() => said({}));
  const client = clientOf(configOf(gone, leaderless.url, garbage.url, good.url));
  await client.call('/a', {}, v.unknown());
  await client.call('/b', {}, v.unknown());
  assert.equal(
    [leaderless, garbage, good].map(({ requests }) => requests.length),
    [1, 1, 2],
  );
});

test('the node that has answered last is asked first, and the others after it', async () => {
  let hasLeader = true;
  const first = await node(() => (hasLeader ? said({}) : said({ error: 'no leader' }, 503)));
  const second = await node(() => said({}));
  const client = clientOf(configOf(new URL('http://127.0.0.1:1'), first.url, second.url));
  const ask = async () => {
    await client.call('/a', {}, v.unknown());
    return [first, second].map(({ requests }) => requests.splice(0).length);
  };
  assert.equal(await ask(), [1, 0]);
  hasLeader = false;
  assert.equal(await ask(), [1, 1]);
  assert.equal(await ask(), [0, 1]);
});

test('when no node answers, each is named with its reason', async () => {
  const leaderless = await node(() => said({ error: 'no\nleader' }, 503));
  const garbage = await node(() => ({ text: '{' }));
  const gone = new URL('http://127.0.0.1:1');
  await fails(
    clientOf(configOf(gone, leaderless.url, garbage.url)).call('/a', {}, v.unknown()),
    `etcd does not answer (127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1; ${leaderless.url.host}: 503 no\ufffdleader; ${garbage.url.host}: 200)`,
  );
});

test('a node that breaks off, or sends without end, does not answer', async () => {
  const long = await node(() => ({ text: `"${'x'.repeat(4 << 20)}"` }));
  await fails(
    clientOf(configOf(long.url)).call('/a', {}, v.unknown()),
    /an answer of more than 4194304 bytes\)$/,
  );
  const server = http.createServer((_, response) => {
    response.writeHead(200, { 'content-length': '100' });
    response.write('{');
    setImmediate(() => response.destroy());
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  await fails(clientOf(configOf(url)).call('/a', {}, v.unknown()), /^etcd does not answer \(/);
});

test('a node that changes to another protocol does not answer', async () => {
  const server = http.createServer((_, response) => {
    response.writeHead(101, { connection: 'upgrade', upgrade: 'x' });
    response.end();
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const asked = clientOf(configOf(url)).call('/a', {}, v.unknown());
  await fails(asked, /^etcd does not answer \(127\.0\.0\.1:\d+: it has closed the connection\)$/);
});

test('a token that cannot be sent, or that no node takes, is not kept for the next process', async () => {
  const login = { name: 'u', password: 'p' };
  for (const bad of ['a\nb', '\u20ac', '', 'x'.repeat(100_000)]) {
    let isGood = false;
    const { url } = await node(({ path, token }) => {
      if (path.endsWith('authenticate')) return said({ token: isGood ? 'good' : bad });
      return token === 'good' ? said({ x: 1 }) : said({ error: 'invalid auth token' }, 401);
    });
    const ask = () => clientOf({ ...configOf(url), login }).call('/a', {}, v.unknown());
    await fails(ask(), 'etcd returned an invalid token');
    isGood = true;
    assert.equal(await ask(), { x: 1 }, JSON.stringify(bad.slice(0, 9)));
    rmSync(tokenFile);
  }
});

test('a token is fetched again once, and only when etcd refuses the request', async () => {
  const login = { name: 'u', password: 'p' };
  let status = 200;
  const { url, requests } = await node(({ path }) =>
    path.endsWith('authenticate') ? said({ token: 't' }) : said({ error: 'it fails' }, status),
  );
  const ask = (client = clientOf({ ...configOf(url), login })) => client.call('/a', {}, v.unknown());
  const asked = () => requests.splice(0).map(({ path }) => path);
  await ask();
  assert.equal(asked(), ['/v3/auth/authenticate', '/a']);
  // The token of the process before.
  status = 503;
  await fails(ask(), /it fails/);
  assert.equal(asked(), ['/a']);
  status = 403;
  const client = clientOf({ ...configOf(url), login });
  await fails(ask(client), 'etcd refuses: it fails');
  assert.equal(asked(), ['/a', '/v3/auth/authenticate', '/a']);
  await fails(ask(client), 'etcd refuses: it fails');
  assert.equal(asked(), ['/a']);
});

test('a node that is silent is given up in time', async () => {
  const silent = await node(undefined);
  await fails(
    createEtcdClient(configOf(silent.url), 300).call('/a', {}, v.unknown()),
    /: no answer within 0\.3 s\)$/,
  );
});

test('what etcd refuses is not asked of another node', async () => {
  const first = await node(() => said({ error: 'permission denied', code: 7 }, 400));
  const second = await node(() => said({}));
  const client = clientOf(configOf(first.url, second.url));
  await fails(client.call('/a', {}, v.unknown()), 'etcd refuses: permission denied');
  assert.is(second.requests.length, 0);
});

test('a response is a body, or says why it is none', () => {
  assert.equal(readResponse(200, '{"a":1}'), { a: 1 });
  assert.is(readResponse(200, 'null'), null);
  for (const [status, text, kind, message] of [
    [400, '{}', EtcdFault, 'etcd refuses: status 400'],
    [401, '{"error":"x\\u001b[31m"}', EtcdFault, 'etcd refuses: x\ufffd[31m'],
    [499, '{"error":1}', EtcdFault, 'etcd refuses: status 499'],
    [500, '{"error":"e"}', NoAnswer, '500 e'],
    [200, 'x', NoAnswer, '200'],
    [400, 'x', NoAnswer, '400'],
    [400, JSON.stringify({ error: 'y'.repeat(1000) }), EtcdFault, `etcd refuses: ${'y'.repeat(500)}`],
  ] as [number, string, new () => Error, string][])
    assert.throws(
      () => readResponse(status, text),
      (error: Error) => error instanceof kind && error.message === message,
      `${status} ${text.slice(0, 40)}`,
    );
  assert.throws(
    () => readBody(v.object({ a: v.number() }), { a: 'b' }),
    ({ message }: Error) => /^etcd has answered something else than expected: Invalid type: /.test(message),
  );
});

test('the machines of a service are those whose keys have the prefix', async () => {
  const { url, requests } = await node(() =>
    said({
      kvs: [
        { key: base64('/w/b'), value: base64(machineText(['db'])) },
        { key: base64('/w/a'), value: base64(machineText(['x', 'db'])) },
        { key: base64('/w/c') },
      ],
    }),
  );
  assert.equal(await lookUpInEtcd(configOf(url), 'db'), [{ host: 'a' }, { host: 'b' }]);
  assert.equal(requests[0]?.path, '/v3/kv/range');
  assert.equal(requests[0]?.body, { key: base64('/w/'), range_end: base64('/w0') });
  const empty = await node(() => said({ header: {} }));
  assert.equal(await lookUpInEtcd(configOf(empty.url), 'db'), []);
});

/** A node that grants leases 1, 2, …, of which those in `alive` are renewed. */
async function leases() {
  const alive = new Set<string>();
  const calls: string[] = [];
  let stored: Record<string, string | undefined>[] = [];
  const { url } = await node(({ path, body }) => {
    const { ID, key, value, lease, TTL } = body as Record<string, string>;
    const text = (encoded: string | undefined) => Buffer.from(encoded ?? '', 'base64').toString();
    if (path === '/v3/lease/grant') {
      const id = `${alive.size + 1}`;
      alive.add(id);
      calls.push(`grant ${TTL}`);
      return said({ ID: id });
    }
    if (path === '/v3/lease/keepalive') {
      calls.push(`renew ${ID}`);
      return said({ result: { ID, ...(alive.has(ID ?? '') && { TTL: '60' }) } });
    }
    if (path === '/v3/kv/range') {
      calls.push(`range ${text(key)}`);
      return said({ kvs: stored });
    }
    if (path === '/v3/kv/put') {
      calls.push(`put ${text(key)} ${text(value)} ${lease}`);
      stored = [{ key, value, lease }];
    } else if (path === '/v3/kv/deleterange') calls.push(`delete ${text(key)}`);
    else if (path === '/v3/lease/revoke') calls.push(`revoke ${ID}`);
    else return said({ error: path }, 400);
    return said({});
  });
  const change = (kvs: typeof stored) => {
    stored = kvs;
  };
  return { url, alive, change, calls: () => calls.splice(0) };
}

test('what is published has one key with a lease, which is renewed', async () => {
  const { url, alive, change, calls } = await leases();
  const register = (services: string[], address = '10.0.0.9') =>
    registerInEtcd({ ...configOf(url), address }, services, leaseFile);
  assert.is(await register([]), undefined);
  assert.equal(calls(), []);
  assert.is(await register(['db', 'web']), 'etcd has /w/10.0.0.9: db, web');
  assert.equal(calls(), ['grant 60', 'put /w/10.0.0.9 {"services":["db","web"]} 1']);
  assert.is(statSync(leaseFile).mode & 0o777, 0o600);
  assert.is(await register(['db', 'web']), undefined);
  assert.equal(calls(), ['renew 1', 'range /w/10.0.0.9']);
  // Somebody has deleted the key, given it another value, or another lease.
  const key = base64('/w/10.0.0.9');
  const value = base64('{"services":["db","web"]}');
  for (const kvs of [[], [{ key, value: base64('{}'), lease: '1' }], [{ key, value, lease: '7' }]]) {
    change(kvs);
    assert.is(
      await register(['db', 'web']),
      'etcd has /w/10.0.0.9: db, web again, which someone else had changed',
    );
    assert.equal(calls(), ['renew 1', 'range /w/10.0.0.9', 'put /w/10.0.0.9 {"services":["db","web"]} 1']);
  }
  assert.is(await register(['db']), 'etcd has /w/10.0.0.9: db');
  assert.equal(calls(), ['renew 1', 'put /w/10.0.0.9 {"services":["db"]} 1']);
  // Under another address, the former key goes.
  assert.is(await register(['db'], '10.0.0.8'), 'etcd has /w/10.0.0.8: db');
  assert.equal(calls(), ['renew 1', 'delete /w/10.0.0.9', 'put /w/10.0.0.8 {"services":["db"]} 1']);
  // etcd has forgotten the lease, and the key with it.
  alive.clear();
  alive.add('other');
  assert.is(await register(['db'], '10.0.0.8'), 'etcd has /w/10.0.0.8: db');
  assert.equal(calls(), ['renew 1', 'grant 60', 'put /w/10.0.0.8 {"services":["db"]} 2']);
  assert.is(await register([]), 'removed /w/10.0.0.8 from etcd: nothing is published here any more');
  assert.equal(calls(), ['renew 2', 'revoke 2']);
  assert.not(existsSync(leaseFile));
  assert.is(await register([]), undefined);
  assert.equal(calls(), []);
});

test('a lease that has ended is not revoked', async () => {
  const { url, alive, calls } = await leases();
  await registerInEtcd(configOf(url), ['db'], leaseFile);
  alive.clear();
  calls();
  assert.match((await registerInEtcd(configOf(url), [], leaseFile)) ?? '', /any more/);
  assert.equal(calls(), ['renew 1']);
  assert.not(existsSync(leaseFile));
});

test('a note of a lease that makes no sense is replaced', async () => {
  const { url, calls } = await leases();
  await registerInEtcd(configOf(url), ['db'], leaseFile);
  for (const text of ['', '{', '{"lease":1}']) {
    calls();
    writeFileSync(leaseFile, text);
    await registerInEtcd(configOf(url), ['db'], leaseFile);
    assert.is(calls()[0], 'grant 60', text);
    assert.is(JSON.parse(readFileSync(leaseFile, 'utf8')).key, '/w/10.0.0.9');
  }
});

test('the address for others is the one that faces etcd, unless it means nothing to them', () => {
  for (const address of ['10.0.0.9', '192.0.2.127', 'fd00::fe80', '2001:db8::1', '::11'])
    assert.is(requireOwnAddress(address), address);
  for (const address of [undefined, '127.0.0.1', '127.1.2.3', '::1'])
    assert.throws(
      () => requireOwnAddress(address),
      ({ message }: Error) => message.startsWith('etcd is reached on this machine itself: say Address='),
    );
  for (const address of ['fe80::1', 'FE80::1%eth0'])
    assert.throws(
      () => requireOwnAddress(address),
      ({ message }: Error) => message.startsWith(`etcd is reached from ${address}: say Address=`),
    );
});

test('a machine that faces etcd from loopback has to be told its address', async () => {
  const { url, calls } = await leases();
  const { address: _, ...config } = configOf(url);
  await fails(
    registerInEtcd(config, ['db'], leaseFile),
    'etcd is reached on this machine itself: say Address=, at which others reach this machine',
  );
  assert.equal(calls(), ['grant 60']);
  assert.not(existsSync(leaseFile));
});

test.run();
