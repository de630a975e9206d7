import './own-state.ts';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import * as assert from 'uvu/assert';
import { createAt, ping } from '../../src/api/client.ts';
import type { Machine } from '../../src/api/connect.ts';
import { readKeys } from '../../src/api/key.ts';
import { clientTls, hasProvedKey } from '../../src/api/tls.ts';
import {
  apiSuite,
  daemon,
  directory,
  fails,
  KEY,
  keyFile,
  keyFileOf,
  OTHER,
  refused,
  servers,
  there,
  until,
} from './api-daemon.ts';

const test = apiSuite('the handshake of the API');

test('a client with another key is refused and told nothing, and so is one with the right identity and a wrong secret', async () => {
  const seen = new Set<string>();
  await fails(
    ping(there(OTHER)),
    /^the keys of this machine and \S+ differ: both need the same line in .*key-a9f8/,
  );
  const [right] = readKeys(keyFile);
  for (const identity of [right.identity, 'wormhole-0000000000000000', 'x'.repeat(100)]) {
    const socket = connectTls({
      ...clientTls({ identity, secret: randomBytes(32) }),
      port: daemon.port,
      host: '127.0.0.1',
    });
    const [error] = await once(socket, 'error');
    seen.add(`${error.code} ${error.reason}`);
  }
  assert.equal([...seen], ['ERR_SSL_SSLV3_ALERT_ILLEGAL_PARAMETER sslv3 alert illegal parameter']);
  // A client may hear of it first. What is told later would be taken for a refusal of the next test.
  await until(() => refused.length === 4);
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
    const socket = connectTls({
      ...clientTls(readKeys(keyFile)[0]),
      port: daemon.port,
      host: '127.0.0.1',
      ...changed,
    });
    const [error] = await once(socket, 'error');
    assert.ok(error, JSON.stringify(changed));
    await until(() => refused.length > 0);
    assert.match(refused.join(), expected);
  }
  for (const [words, expected] of [
    ['GET /v1/ping HTTP/1.1\r\nhost: a\r\n\r\n', /does not speak TLS/],
    [randomBytes(1000).toString('latin1'), /TLS|went away/],
    ['', /went away/],
  ] as const) {
    refused.length = 0;
    const socket = connect(daemon.port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('latin1').on('data', (chunk) => {
      answer += chunk;
    });
    socket.on('error', () => {});
    socket.end(words, 'latin1');
    await once(socket, 'close');
    assert.not.match(answer, /HTTP/);
    await until(() => refused.length > 0);
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
    for (const machine of bad) await fails(ping(machine), /the keys of this machine and \S+ differ/);
  }
  await fails(
    ping({ ...there(), keyFile: keyFileOf(KEY, OTHER) }),
    /the keys of this machine and \S+ differ/,
  );
  await ping({ ...there(), keyFile: keyFileOf(OTHER, KEY) });
});

test('a session cannot be taken up again once its key is gone', async () => {
  const settings = { ...clientTls(readKeys(keyFile)[0]), port: daemon.port, host: '127.0.0.1' };
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

test('a key file that cannot be used refuses every caller, and comes back to life with the file', async () => {
  rmSync(keyFile);
  await fails(ping(there()), /the keys of this machine and \S+ differ/);
  assert.match(refused.join('\n'), /^every caller cannot be authenticated: no key file/m);
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
  const endpoint = { kind: 'tcp', host: '127.0.0.1', port: (liar.address() as AddressInfo).port } as const;
  await fails(createAt({ ...there(), endpoint }, ['a']), /the keys of this machine and \S+ differ/);
  assert.is(heard, '', 'it was told nothing');
  // Not even when its certificate is one that we would trust.
  const socket = connectTls({
    ...clientTls(readKeys(keyFile)[0]),
    port: endpoint.port,
    host: '127.0.0.1',
    ca: cert,
  });
  await once(socket, 'secureConnect');
  assert.ok(socket.authorized);
  assert.not(hasProvedKey(socket));
  socket.destroy();
  liar.close();
});

test('a hundred half-open connections from one address: 32 are kept, and a good client gets through', async () => {
  const half = Array.from({ length: 100 }, () => connect(daemon.port, '127.0.0.1').on('error', () => {}));
  await Promise.all(half.map((socket) => once(socket, 'connect')));
  for (let n = 0; n < 5; n++) await ping(there());
  assert.is(half.filter(({ closed }) => !closed).length <= 32, true);
  assert.ok(servers.open() < 40, `${servers.open()} open`);
  for (const socket of half) socket.destroy();
});

test.run();
