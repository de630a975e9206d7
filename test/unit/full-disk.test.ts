import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const directory = mkdtempSync(join(tmpdir(), 'wormhole-full-'));
test.after(() => rmSync(directory, { recursive: true, force: true }));

/*
 * On a disk that becomes full in the middle of a text, write(2) succeeds with fewer bytes than it was given, and only the next one
 * fails. The limit of file sizes does the same (RLIMIT_FSIZE, setrlimit(2)), and needs no disk. Its signal is ignored, as Node does
 * with SIGPIPE, so that the call fails instead.
 */
test('a text for which there is no room any more leaves the former file as it is, and no other', () => {
  const path = join(directory, 'unit.service');
  writeFileSync(path, 'former\n');
  const program = `
    import { writeAtomically } from ${JSON.stringify(new URL('../../src/system/files.ts', import.meta.url).href)};
    process.on('SIGXFSZ', () => {});
    try {
      writeAtomically(${JSON.stringify(path)}, 'next\\n'.repeat(5000));
    } catch (error) {
      process.stdout.write(error.code);
    }
  `;
  const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', program];
  const { stdout, stderr } = spawnSync('prlimit', ['--fsize=8192', ...node], {
    encoding: 'utf8',
    timeout: 60_000,
    // Its files are longer than that.
    env: { ...process.env, TSX_DISABLE_CACHE: '1' },
  });
  assert.is(stderr, '');
  assert.is(stdout, 'EFBIG');
  assert.is(readFileSync(path, 'utf8'), 'former\n');
  assert.equal(readdirSync(directory), ['unit.service']);
});

test.run();
