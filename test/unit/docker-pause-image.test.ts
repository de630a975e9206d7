import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { imageArchive, pauseImage, pauseImages } from '../../src/docker/pause-image.ts';
import { pauseProgram } from '../../src/docker/pause-program.ts';
import { sleep, until } from './forwarder-launch.ts';

/** The id that the engine gives an image: the digest of its configuration, which is the name of a file in it. */
async function id(architecture: 'amd64' | 'arm64'): Promise<string | undefined> {
  return /([0-9a-f]{64})\.json/.exec((await imageArchive(architecture)).toString('latin1'))?.[1];
}

test('the image of holders is the same everywhere; when it changes, so does its number', async () => {
  assert.is(pauseImage, 'wormhole/pause:2');
  assert.is(await id('amd64'), 'f90e952a3a26dee460458cf1aeb82f188e3a17615be13893c753e7c77638dec4');
  assert.is(await id('arm64'), '3dbc5d5e7514285ac916eb7097391c22a73b33218367b6de59957278f5f18ac8');
});

test('holders are told from other containers by the images that have been theirs', async () => {
  for (const [at, architecture] of (['amd64', 'arm64'] as const).entries()) {
    assert.is(pauseImages[at]?.id, `sha256:${await id(architecture)}`);
    const archive = (await imageArchive(architecture)).toString('latin1');
    assert.is(pauseImages[at]?.layer, /"diff_ids":\["(sha256:[0-9a-f]{64})"\]/.exec(archive)?.[1]);
  }
});

test('those of links of earlier versions are still known', () => {
  const former = 'sha256:f8a56ee5cec498142fdef5da64df7defc7eb0ef3cfef98145da42263c7f67bc8';
  assert.ok(pauseImages.some(({ id }) => id === former));
});

test('the program sleeps until SIGTERM, and ends with status 0', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-pause-'));
  const program = join(directory, 'pause');
  writeFileSync(program, pauseProgram(process.arch === 'arm64' ? 'arm64' : 'amd64'), { mode: 0o700 });
  const child = spawn(program, { stdio: 'ignore' });
  try {
    const ended = once(child, 'exit');
    await until(() => / \(pause\) S /.test(readFileSync(`/proc/${child.pid}/stat`, 'utf8')));
    child.kill('SIGTERM');
    assert.equal(await ended, [0, null]);
  } finally {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  }
});

test('two archives are the same to the byte', async () => {
  const first = await imageArchive('amd64');
  // Archives have times in whole seconds.
  await sleep(1100);
  assert.ok(first.equals(await imageArchive('amd64')));
});

test.run();
