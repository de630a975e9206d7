import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { pauseProgram } from '../../src/docker/pause-program.ts';
import { until } from '../unit/forwarder-launch.ts';

test('the program of holders on arm64 sleeps until SIGTERM, and ends with status 0', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-pause-'));
  const program = join(directory, 'pause');
  writeFileSync(program, pauseProgram('arm64'), { mode: 0o700 });
  const child = spawn('qemu-aarch64', ['-strace', program], { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    const ended = once(child, 'exit');
    let calls = '';
    child.stderr.on('data', (data) => {
      calls += data;
    });
    await until(() => calls.includes('rt_sigtimedwait('), 60_000);
    child.kill('SIGTERM');
    assert.equal(await ended, [0, null]);
    assert.match(calls, /exit_group\(0\)/);
  } finally {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  }
});

test.run();
