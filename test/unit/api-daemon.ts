import './own-state.ts';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite, type Test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Machine } from '../../src/api/connect.ts';
import { Failure } from '../../src/api/failure.ts';
import { readKeys } from '../../src/api/key.ts';
import type { RequestContext } from '../../src/daemon/serve.ts';
import { createServers } from '../../src/daemon/servers.ts';

/** Where the files of the tests are; they go with the suite. */
export const directory = mkdtempSync(join(tmpdir(), 'wormhole-api-'));

/** The daemon's key file, and its unix socket. */
export const keyFile = join(directory, 'key');
export const socketPath = join(directory, 'socket');

/** The key of the daemon, and another one. */
export const [KEY, OTHER] = ['5f0c1e9b2a7d4e68b3c1d0a9f8e7d6c5', 'a9f8e7d6c5b4039281706f5e4d3c2b1a'];

/** What the daemon has written to the journal, and whom it has refused. */
export const journal: string[] = [];
export const refused: string[] = [];

/** A daemon in this process: its port; what its creates wait for, and how many of them have ended. */
export const daemon = { port: 0, gate: Promise.resolve() as Promise<unknown>, ended: 0 };

/** The context of the daemon's requests. Its operations are simulated: no link is created. */
export const context: RequestContext = {
  settings: { keyFile, overlay: '100.64.0.0/14', udpPorts: { first: 4500, last: 4599 } },
  working: 0,
  reading: 0,
  onEnd() {},
  log: { info: (line) => journal.push(line), warn: (line) => journal.push(line) },
  operations: {
    async create({ recipe }, caller) {
      await daemon.gate;
      daemon.ended++;
      if (recipe[0] === 'fail') throw new Failure('taken', 'it is taken');
      return { id: recipe.join('-').replace(/\s/g, '_'), url: JSON.stringify(caller) };
    },
    preview: async ({ recipe }) => ({ files: [{ name: recipe.join('-'), text: 'text' }] }),
    delete: async (id) => {
      if (id !== 'there') throw new Failure('not-found', `no link "${id}"`);
      return [];
    },
    createPart: async (partId, { owner }, caller) => ({
      id: `${partId} ${owner.id}`,
      url: JSON.stringify(caller),
    }),
    async deletePart(partId) {
      if (!partId.startsWith('0')) throw new Failure('not-found', 'no such part');
      return [];
    },
    async change(id) {
      if (id !== 'there') throw new Failure('not-found', `no link "${id}"`);
    },
    async drain(id, { tail }) {
      if (id !== 'there' || tail !== 'web1') throw new Failure('not-found', `no tail "${tail}"`);
    },
    show: async (id) => {
      throw new Failure('not-found', `no link "${id}"`);
    },
    report: () => ({ days: [] }),
    list: async () => ({ links: [], unreadable: [{ id: 'a', reason: 'b' }] }),
  },
};

/** The daemon's servers. */
export const servers = createServers(context, () => readKeys(keyFile), {
  note: (address, reason) => refused.push(`${address} ${reason}`),
  flush() {},
});

/** The daemon over TCP, asked with that key. */
export function there(key = KEY): Machine {
  return { endpoint: { kind: 'tcp', host: '127.0.0.1', port: daemon.port }, keyFile: keyFileOf(key) };
}

/** The daemon over its unix socket. */
export const local: Machine = { endpoint: { kind: 'unix', path: socketPath }, keyFile: '/nowhere' };

/** A key file of those lines. */
export function keyFileOf(...keys: string[]): string {
  const file = join(directory, `key-${keys.join('-').replaceAll(' ', '')}`);
  writeFileSync(file, `${keys.join('\n')}\n`, { mode: 0o600 });
  return file;
}

/** Awaits work that has to fail with that message, and returns the error. */
export async function fails(work: Promise<unknown>, expected: RegExp): Promise<Error> {
  const outcome = await work.then(
    () => new Error('it did not fail'),
    (error: Error) => error,
  );
  assert.match(outcome.message, expected);
  return outcome;
}

/** Waits until `condition` holds, a minute at most. */
export async function until(condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 60_000; !condition(); await sleep(5))
    if (Date.now() > end) throw new Error(`not within a minute: ${condition}`);
}

/** A suite beside a running daemon, which before each test has its key and nothing in its journal. */
export function apiSuite(name: string): Test {
  const test = suite(name);
  test.before(async () => {
    writeFileSync(keyFile, `${KEY}\n`, { mode: 0o600 });
    const [tcp, unix] = [servers.create('tcp'), servers.create('unix')];
    // This process is daemon and client: where it is slow, a client may take longer between two requests than one of a real daemon.
    for (const server of [tcp, unix]) server.keepAliveTimeout = 60_000;
    await once(tcp.listen(0, '127.0.0.1'), 'listening');
    daemon.port = (tcp.address() as AddressInfo).port;
    await once(unix.listen(socketPath), 'listening');
  });
  test.before.each(() => {
    writeFileSync(keyFile, `${KEY}\n`);
    journal.length = 0;
    refused.length = 0;
    daemon.gate = Promise.resolve();
  });
  test.after(() => {
    rmSync(directory, { recursive: true });
    servers.close();
  });
  return test;
}
