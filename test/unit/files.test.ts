import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('files that are written as a whole');

/**
 * Writes a file of so many bytes in a process whose files have room for 4 KiB only: the kernel then writes a part of what it is
 * given and says how much, as on a disk that becomes full. Returns the error's message, or ''.
 */
function writeWithLittleRoom(path: string, bytes: number): string {
  const module = JSON.stringify(new URL('../../src/system/files.ts', import.meta.url).href);
  const script = `const { writeAtomically } = await import(${module});
    try { writeAtomically(${JSON.stringify(path)}, 'x'.repeat(${bytes})); } catch (error) { process.stdout.write(error.message); }`;
  const argv = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', script];
  // In blocks of 1 KiB, bash(1). The cache of tsx is larger.
  return execFileSync('bash', ['-c', 'ulimit -f 4; exec "$@"', 'bash', ...argv], {
    encoding: 'utf8',
    env: { ...process.env, TSX_DISABLE_CACHE: '1' },
  });
}

test('a disk with room for a part of a file has none of it and keeps the former one, and the error names the file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-files-'));
  try {
    const [small, large] = [join(directory, 'small'), join(directory, 'large')];
    assert.is(writeWithLittleRoom(small, 4096), '');
    assert.is(readFileSync(small, 'utf8').length, 4096);
    writeFileSync(large, 'former');
    const message = writeWithLittleRoom(large, 5000);
    assert.equal(readdirSync(directory), ['large', 'small']);
    assert.is(readFileSync(large, 'utf8'), 'former');
    assert.match(message, /^EFBIG: file too large, write '/);
    assert.ok(message.endsWith(` '${large}'`), message);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test.run();
