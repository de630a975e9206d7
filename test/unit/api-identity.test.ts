import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { createAt, ping } from '../../src/api/client.ts';
import { connectMachine, type Machine, Unreachable } from '../../src/api/connect.ts';
import { openConnection } from '../../src/api/exchange.ts';
import type { Failure } from '../../src/api/failure.ts';
import { WrongIdentity } from '../../src/api/identify.ts';
import { readKeys } from '../../src/api/key.ts';
import { createProof, type Proof, type Side } from '../../src/api/proof.ts';
import { clientTls, serverTls } from '../../src/api/tls.ts';
import { createIdentity, idOfKey, isSignedBy, ownIdentity } from '../../src/state/identity.ts';
import { allow, pin, pinnedId, pinnedPeers, refuse, repin } from '../../src/state/peers.ts';
import { apiSuite, context, daemon, fails, keyFile, local, refused, there } from './api-daemon.ts';
import { stateDirectory } from './own-state.ts';

/* Two machines prove to each other who they are. Client and daemon of these tests are the same machine. */

const test = apiSuite('identities');
const ends: (() => void)[] = [];

test.after.each(() => {
  for (const end of ends.splice(0)) end();
  rmSync(join(stateDirectory, 'peers'), { recursive: true, force: true });
  rmSync(join(stateDirectory, 'refused'), { recursive: true, force: true });
});

/** The daemon at another port than its own. */
const at = (server: Server): Machine => ({
  ...there(),
  endpoint: { kind: 'tcp', host: '127.0.0.1', port: (server.address() as AddressInfo).port },
});

async function listening<T extends Server>(server: T): Promise<T> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ends.push(() => server.close());
  return server;
}

/** A relay that has no key: it passes on bytes. */
function blindRelay(): Promise<Server> {
  return listening(
    createServer((client) => {
      const onward = connect(daemon.port, '127.0.0.1');
      client
        .on('error', () => {})
        .pipe(onward.on('error', () => {}))
        .pipe(client);
    }),
  );
}

/** What a relay that has the key makes of the text that it passes on, each way. */
interface Tampering {
  request?: (text: string, onward: TLSSocket) => string;
  answer?: (text: string, client: TLSSocket) => string;
}

/** A relay that has the key: it reads, and may change, what it passes on between two sessions of its own. */
function seeingRelay({ request = String, answer = String }: Tampering = {}): Promise<Server> {
  const keys = readKeys(keyFile);
  return listening(
    createTlsServer(
      serverTls(() => keys),
      (client) => {
        const onward = connectTls({ ...clientTls(keys[0]), host: '127.0.0.1', port: daemon.port });
        client.on('error', () => {});
        onward.on('error', () => client.destroy());
        onward.on('secureConnect', () => {
          client.on('data', (chunk) => onward.write(request(String(chunk), onward)));
          onward.on('data', (chunk) => client.write(answer(String(chunk), client)));
        });
      },
    ),
  );
}

/** Puts another proof in the place of the one in an HTTP message. */
function withProof(text: string, proof: Proof): string {
  return /"signature"/.test(text) ? text.replace(/\{"key".*\}/, JSON.stringify(proof)) : text;
}

test('ping tells the id of the machine, which is remembered by its name', async () => {
  const { id } = ownIdentity();
  assert.match(id, /^[0-9a-f]{32}$/);
  assert.is((await ping(there())).machine, id);
  assert.equal(pinnedPeers(), [{ name: `127.0.0.1:${daemon.port}`, id }]);
  assert.is((await ping(local)).machine, id);
  assert.is(pinnedPeers().length, 1, 'a unix socket is no machine');
});

test('another machine under a known name is asked for nothing, and the error says how to accept it', async () => {
  const name = `127.0.0.1:${daemon.port}`;
  const before = 'f'.repeat(32);
  pin(name, before);
  const ended = daemon.ended;
  const { id } = ownIdentity();
  const error = await fails(
    createAt(there(), ['a']),
    new RegExp(
      `^machine ${name} has another identity than before: ${id}, not ${before}\\. Nothing is changed\\..*: wormhole peers accept ${name} ${id}$`,
    ),
  );
  assert.ok(error instanceof WrongIdentity && error instanceof Unreachable && !error.asked);
  assert.is(daemon.ended, ended);
  assert.is(pinnedId(name), before, 'and it is not remembered');
  repin(name, id);
  await ping(there());
});

test('where one machine is expected, no other one will do, whatever is remembered', async () => {
  const { id } = ownIdentity();
  await ping({ ...there(), id });
  assert.equal(pinnedPeers(), [], 'and nothing is remembered');
  await ping(there());
  await fails(ping({ ...there(), id: 'e'.repeat(32) }), /has another identity than before: .* not e{32}\./);
  // What an earlier version has written.
  await fails(ping({ ...there(), id: 'e'.repeat(16) }), /has another identity than before: .* not e{16}\./);
});

test('a relay that has no key is no machine, and stands for the one behind it', async () => {
  const relay = at(await blindRelay());
  assert.is((await ping(relay)).machine, ownIdentity().id);
  repin(`127.0.0.1:${relay.endpoint.kind === 'tcp' ? relay.endpoint.port : 0}`, 'f'.repeat(32));
  await fails(createAt(relay, ['a']), /has another identity than before/);
});

test('a relay that has the key cannot pass on what either side has signed', async () => {
  const ended = daemon.ended;
  await fails(
    createAt(at(await seeingRelay()), ['a']),
    /your signature is not for this session: is there a relay between us\?$/,
  );
  const thief = createIdentity();
  const asItself = (text: string, session: TLSSocket) =>
    withProof(text, createProof(thief, session, 'client'));
  await fails(
    createAt(at(await seeingRelay({ request: asItself })), ['a']),
    /does not prove its identity: its signature is not for this session/,
  );
  assert.is(daemon.ended, ended);
  // It has to show an identity of its own, which is another one than that of the daemon.
  const both: Tampering = {
    request: asItself,
    answer: (text, session) => withProof(text, createProof(thief, session, 'server')),
  };
  const relay = at(await seeingRelay(both));
  pin(`127.0.0.1:${relay.endpoint.kind === 'tcp' ? relay.endpoint.port : 0}`, ownIdentity().id);
  await fails(createAt(relay, ['a']), new RegExp(`has another identity than before: ${thief.id}, not`));
  assert.is(daemon.ended, ended);
});

test('a machine that is refused here is neither asked nor served', async () => {
  const { id } = ownIdentity();
  refuse(id, ['beta']);
  const error = await fails(
    createAt(there(), ['a']),
    new RegExp(`machine ${id} is refused here: wormhole peers allow ${id}, on this machine$`),
  );
  assert.ok(error instanceof WrongIdentity);
  assert.ok(allow(id));
  assert.not(allow(id));
  // In the middle of a session, too.
  const socket = (await connectMachine(there())) as TLSSocket;
  const { send, close } = openConnection(socket, 'beta');
  await send({ method: 'PUT', path: '/v1/session', body: createProof(ownIdentity(), socket, 'client') });
  await send({ method: 'GET', path: '/v1/ping' });
  refuse(id, ['beta']);
  const late = await fails(send({ method: 'GET', path: '/v1/ping' }), /is refused here/);
  assert.is((late as Failure).code, 'failed');
  close();
});

test('without a proof, or with one that is not for this session and side, nothing is answered', async () => {
  const other = (await connectMachine(there())) as TLSSocket;
  const own = ownIdentity();
  const proofs: [(session: TLSSocket) => unknown, RegExp][] = [
    [() => undefined, /prove your identity first: this needs the same version of wormhole as here/],
    [() => createProof(own, other, 'client'), /your signature is not for this session/],
    [(session) => createProof(own, session, 'server'), /your signature is not for this session/],
    [
      (session) => ({
        ...createProof(own, session, 'client'),
        key: createIdentity().publicKey.toString('hex'),
      }),
      /your signature is not for this session/,
    ],
    [
      (session) => ({ ...createProof(own, session, 'client'), key: '00'.repeat(32) }),
      /your signature is not/,
    ],
    [
      (session) => ({ ...createProof(own, session, 'client'), key: 'ff'.repeat(32) }),
      /your signature is not/,
    ],
    [
      (session) => ({ ...createProof(own, session, 'client'), signature: '00'.repeat(64) }),
      /your signature is/,
    ],
    [(session) => ({ ...createProof(own, session, 'client'), key: 'ab' }), /"key" must be an Ed25519 key/],
    [(session) => ({ ...createProof(own, session, 'client'), id: own.id }), /a field "id", which is unknown/],
    [() => ({}), /"key" is missing/],
    [() => [], /must be a JSON object/],
  ];
  for (const [proofFor, expected] of proofs) {
    const session = (await connectMachine(there())) as TLSSocket;
    const { send, close } = openConnection(session, 'beta');
    const body = proofFor(session);
    if (body !== undefined) await fails(send({ method: 'PUT', path: '/v1/session', body }), expected);
    for (const request of [
      { method: 'GET', path: '/v1/ping' },
      { method: 'GET', path: '/v1/links' },
      { method: 'GET', path: '/v1/tunnels/shared' },
      { method: 'DELETE', path: `/v1/parts/${'0'.repeat(32)}` },
      { method: 'POST', path: '/v1/links', body: { recipe: ['a'] } },
    ]) {
      if (session.destroyed) break;
      const error = await fails(send(request), /prove your identity first/);
      assert.is((error as Failure).code, 'usage');
    }
    close();
  }
  other.destroy();
  while (context.working > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(refused, []);
});

test('a server that has the key but proves no identity is asked for nothing', async () => {
  const keys = readKeys(keyFile);
  let heard = '';
  const answering = (bodyFor: (session: TLSSocket) => unknown, status = 200) =>
    listening(
      createTlsServer(
        serverTls(() => keys),
        (client) => {
          client
            .on('error', () => {})
            .on('data', (chunk) => {
              heard += chunk;
              const body = JSON.stringify(bodyFor(client));
              client.write(
                `HTTP/1.1 ${status} -\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
              );
            });
        },
      ),
    );
  const thief = createIdentity();
  const signed = (side: Side) => (session: TLSSocket) => createProof(thief, session, side);
  const notFound = { error: { code: 'not-found', message: 'no such path' } };
  for (const [bodyFor, status, expected] of [
    [() => ({}), 200, /does not prove its identity: "key" is missing/],
    [() => ({ machine: 'a' }), 200, /does not prove its identity/],
    [signed('client'), 200, /does not prove its identity: its signature is not for this session/],
    [() => notFound, 404, /runs a wormholed that cannot prove its identity: install this version there$/],
    [() => 'what?', 500, /gives an answer \(500\) that is not from wormholed/],
  ] as const) {
    heard = '';
    const machine = at(await answering(bodyFor, status));
    assert.instance(await fails(createAt(machine, ['a']), expected), WrongIdentity);
    assert.match(heard, /^PUT \/v1\/session /);
    assert.not.match(heard, /v1\/links/);
  }
  assert.equal(pinnedPeers(), []);
});

test('the key of a machine is for root alone, belongs to the machine, and is made once', async () => {
  const file = join(stateDirectory, 'identity.secret');
  assert.is(statSync(file).mode & 0o777, 0o600);
  const { id, publicKey, sign } = ownIdentity();
  assert.is(idOfKey(publicKey), id);
  assert.ok(isSignedBy(publicKey, Buffer.from('a'), sign(Buffer.from('a'))));
  assert.not(isSignedBy(publicKey, Buffer.from('b'), sign(Buffer.from('a'))));
  assert.not(isSignedBy(Buffer.alloc(5), Buffer.from('a'), Buffer.alloc(64)));

  const state = join(stateDirectory, 'elsewhere');
  mkdirSync(state);
  const script = `import('./src/state/identity.ts').then(({ ownIdentity }) => console.log(ownIdentity().id)).catch((error) => console.log(error.message))`;
  const inProcess = async () => {
    const options = { env: { ...process.env, WORMHOLE_STATE_DIRECTORY: state } };
    return (
      await promisify(execFile)(process.execPath, ['--import', 'tsx', '-e', script], options)
    ).stdout.trim();
  };
  const ids = new Set(await Promise.all(Array.from({ length: 6 }, inProcess)));
  assert.is(ids.size, 1, [...ids].join());
  assert.equal(readdirSync(state), ['identity.secret']);
  const copy = JSON.parse(readFileSync(join(state, 'identity.secret'), 'utf8'));
  // The disk of another machine.
  writeFileSync(join(state, 'identity.secret'), JSON.stringify({ ...copy, machine: '0'.repeat(32) }));
  assert.not(ids.has(await inProcess()));
  writeFileSync(join(state, 'identity.secret'), '{}');
  assert.match(
    await inProcess(),
    /identity\.secret is not the key of a machine .*: restore it, or remove it/,
  );
});

test.run();
