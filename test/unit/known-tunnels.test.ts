import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createKnownTunnels } from '../../src/tunnels/known-tunnels.ts';
import type { Tunnel } from '../../src/units/tunnel.ts';

const test = suite('what is known of the keys of tunnels');

test('a key that changes is read again, also when the clock has been set back', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-known-'));
  const { now } = Date;
  try {
    const keyFile = join(directory, 'key.secret');
    const write = () => writeFileSync(keyFile, randomBytes(32).toString('hex'), { mode: 0o600 });
    const { keysOf } = createKnownTunnels();
    const tunnel = { keyFile } as Tunnel;
    const seen = new Set<string>();
    for (const hours of [0, -1, -2, 1]) {
      Date.now = () => now() + hours * 3_600_000;
      write();
      await sleep(100);
      seen.add(keysOf(tunnel)[0]?.identity ?? '');
    }
    assert.is(seen.size, 4);
  } finally {
    Date.now = now;
    rmSync(directory, { recursive: true });
  }
});

test.run();
