import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readKnownName } from '../../src/state/name-file.ts';
import { descriptorOf } from './forwarder-launch.ts';

const RUN = fileURLToPath(new URL('./names-serve-run.ts', import.meta.url));

/** More than the second between two lookups, and than the five seconds without a client after which the service ends, ms. */
const LONG = 60_000;

test('a clock that is set back stops neither lookups nor the end of the service', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-names-'));
  const path = join(directory, 'name');
  writeFileSync(path, '');
  const file = openSync(path, 'r');
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const child = spawn(process.execPath, ['--import', 'tsx', RUN, path], {
    stdio: ['pipe', 'pipe', 'inherit', descriptorOf(listener)],
  });
  const exited = once(child, 'exit');
  listener.close();
  const known = () => readKnownName(file, 'localhost:80');
  /** Asks until what is known is another answer than before. */
  const lookedUp = async (before: number): Promise<number> => {
    for (const end = performance.now() + LONG; performance.now() < end; await sleep(100)) {
      const client = connect(port, '127.0.0.1');
      await once(client, 'close');
      const until = known()?.until ?? 0;
      if (until !== before) return until;
    }
    throw new Error('the name is not looked up again');
  };
  try {
    const first = await lookedUp(0);
    assert.ok((known()?.addresses.length ?? 0) > 0);
    child.stdin?.write('now\n');
    await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
    await lookedUp(first);
    const timer = setTimeout(() => child.kill('SIGKILL'), LONG);
    assert.equal(await exited, [0, null]);
    clearTimeout(timer);
  } finally {
    child.kill('SIGKILL');
    closeSync(file);
    rmSync(directory, { recursive: true });
  }
});

test.run();
