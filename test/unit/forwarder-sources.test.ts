import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseAddress } from '../../src/forwarder/address.ts';
import { createTailSources } from '../../src/forwarder/balance/tail-sources.ts';
import { formatProxyInfo, parseProxyInfo } from '../../src/forwarder/hand-off/proxy-info.ts';
import type { Log } from '../../src/forwarder/log.ts';
import {
  countClosed,
  countOpened,
  createSources,
  formatCount,
  parseCount,
  refuseIfMany,
  sourceOf,
} from '../../src/forwarder/sources.ts';
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  close,
  connect,
  SOCK_STREAM,
  socket,
} from '../../src/forwarder/syscalls.ts';
import { parseUnixAddress } from '../../src/forwarder/unix/address.ts';

/* How many sessions each address has, and what forwarders say to each other about that and about clients. */

test('a source is forgotten with its last connection', () => {
  const sources = createSources(2, { tellsChanges: false });
  countOpened(sources, 1);
  countOpened(sources, 1);
  countOpened(sources, 2n);
  assert.equal(
    [...sources.open],
    [
      [1, 2],
      [2n, 1],
    ],
  );
  countClosed(sources, 1);
  countClosed(sources, 2n);
  assert.equal([...sources.open], [[1, 1]]);
  // One that was never counted stays at none.
  countClosed(sources, 5);
  assert.equal([...sources.open], [[1, 1]]);
  assert.is(sources.changed, undefined);
  assert.is(sources.most, 2);
});

const LOOPBACK = new Int32Array(Uint8Array.of(127, 0, 0, 1).buffer)[0] as number;

/** A descriptor, which Node knows nothing of, of a socket that is connected to this address. */
function connected(family: number, { sockaddr, size }: { sockaddr: number; size: number }): number {
  const fd = socket(family, SOCK_STREAM, 0);
  assert.is(connect(fd, sockaddr, size), 0);
  return fd;
}

test('a client comes from its IPv4 address, or the network of its IPv6 address', async () => {
  const server = net.createServer().listen(0, '::');
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-sources-'));
  const local = net.createServer().listen(join(directory, 'socket'));
  await Promise.all([once(server, 'listening'), once(local, 'listening')]);
  const { port } = server.address() as net.AddressInfo;
  for (const [family, address, source] of [
    [AF_INET, parseAddress(`127.0.0.1:${port}`), LOOPBACK],
    [AF_INET6, parseAddress(`[::ffff:127.0.0.1]:${port}`), LOOPBACK],
    [AF_INET6, parseAddress(`[::1]:${port}`), 0n],
    [AF_UNIX, parseUnixAddress('x', join(directory, 'socket')), undefined],
  ] as const) {
    const fd = connected(family, address);
    assert.is(sourceOf(fd), source, address.text);
    close(fd);
  }
  assert.is(sourceOf(-1), undefined);
  // One that has not connected.
  const fd = socket(AF_INET, SOCK_STREAM, 0);
  assert.is(sourceOf(fd), undefined);
  close(fd);
  server.close();
  local.close();
  rmSync(directory, { recursive: true });
});

test('a client is reset if its source has as many connections as it may have, and only then', async () => {
  const lines: string[] = [];
  const log = {
    failure: (kind: string, line: string, summary: (count: number) => string) =>
      lines.push(kind, line, summary(7)),
  } as unknown as Log;
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const sources = createSources(2, { tellsChanges: false });
  const fd = connected(AF_INET, parseAddress(`127.0.0.1:${port}`));
  const [accepted] = (await once(server, 'connection')) as [net.Socket];
  assert.not(refuseIfMany(sources, fd, log));
  countOpened(sources, LOOPBACK);
  assert.not(refuseIfMany(sources, fd, log));
  assert.equal(lines, []);
  countOpened(sources, LOOPBACK);
  assert.ok(refuseIfMany(sources, fd, log));
  assert.equal(lines, [
    'refused source',
    `refused 127.0.0.1:${port}: 2 connections of its address are open, as many as --max-per-source allows`,
    'refused 7 more clients in the last 10 s whose addresses have as many connections as --max-per-source allows',
  ]);
  // It is closed: nothing is connected at its descriptor.
  assert.is(sourceOf(fd), undefined);
  const [error] = (await once(accepted, 'error')) as [NodeJS.ErrnoException];
  assert.is(error.code, 'ECONNRESET');
  assert.not(refuseIfMany(createSources(0, { tellsChanges: false }), -1, log), 'a client that is gone');
  server.close();
});

test('changes are told to those who ask for them', () => {
  const { changed, ...sources } = createSources(2, { tellsChanges: true });
  countOpened({ ...sources, changed }, 1);
  countOpened({ ...sources, changed }, 2);
  countClosed({ ...sources, changed }, 1);
  assert.equal([...(changed ?? [])], [1, 2]);
});

test('a count is written and read again', () => {
  for (const [source, count, text] of [
    [16_777_343, 3, '16777343 3'],
    [-1, 0, '-1 0'],
    [2n ** 64n - 1n, 9_999_999, '18446744073709551615n 9999999'],
  ] as const) {
    assert.is(formatCount(source, count), text);
    assert.equal(parseCount(text), [source, count]);
  }
  for (const text of [
    '',
    '1',
    '1 ',
    '1 -1',
    ' 1 1',
    '1 1 1',
    '1N 1',
    'n 1',
    '1 12345678',
    `${'1'.repeat(21)} 1`,
    'x1 1',
  ])
    assert.is(parseCount(text), undefined, text);
});

test('the front counts what a tail tells, and forgets it with the tail', () => {
  const sources = createSources(9, { tellsChanges: false });
  const [one, other] = [createTailSources(sources), createTailSources(sources)];
  countOpened(sources, 1);
  one.takeOver(1);
  other.told('1 2');
  assert.is(sources.open.get(1), 3);
  one.told('1 3');
  assert.is(sources.open.get(1), 5);
  one.told('nonsense');
  assert.is(sources.open.get(1), 5);
  one.told('1 0');
  assert.is(sources.open.get(1), 2);
  // What was taken over twice is told once.
  countOpened(sources, 1);
  one.takeOver(1);
  countOpened(sources, 1);
  one.takeOver(1);
  one.told('1 1');
  assert.is(sources.open.get(1), 3);
  other.forget();
  assert.is(sources.open.get(1), 1);
  other.forget();
  assert.is(sources.open.get(1), 1);
  one.forget();
  assert.is(sources.open.size, 0);
});

test('proxy info is written and read again', () => {
  const header = Buffer.from('PROXY UNKNOWN\r\n');
  for (const [proxyInfo, text] of [
    [{ headerBytes: 0 }, '0 - '],
    [{ headerBytes: 28, header }, `28 ${header.toString('base64')} `],
    [{ headerBytes: 999_999_999, name: 'a behind b' }, '999999999 - a behind b'],
    [{ headerBytes: 1, header: Buffer.alloc(256), name: 'x' }, `1 ${Buffer.alloc(256).toString('base64')} x`],
  ] as const) {
    assert.is(formatProxyInfo(proxyInfo), text);
    assert.equal(parseProxyInfo(text), proxyInfo);
  }
  assert.is(formatProxyInfo({}), '0 - ');
});

test('what no front forwarder says is not proxy info', () => {
  for (const text of [
    '',
    '0',
    '0 -',
    ' 0 - ',
    '-1 - ',
    '1234567890 - ',
    '0 * ',
    '0  x',
    '0 = ',
    `0 ${Buffer.alloc(257).toString('base64')} x`,
    'x 0 - ',
    '0 - a\nb',
  ])
    assert.is(parseProxyInfo(text), undefined, JSON.stringify(text));
});

test.run();
