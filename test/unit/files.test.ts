import { execFileSync } from 'node:child_process';
import {
  closeSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { makeDirectory, writeAtomically } from '../../src/system/files.ts';

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

test('in a directory of another user nothing is followed that waits for the file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-files-'));
  try {
    const [file, victim] = [join(directory, 'file'), join(directory, 'victim')];
    const temporary = join(directory, `.file.${process.pid}.new`);
    writeFileSync(victim, 'precious', { mode: 0o644 });
    symlinkSync(victim, temporary);
    writeAtomically(file, 'text', { mode: 0o600 });
    assert.is(readFileSync(victim, 'utf8'), 'precious');
    assert.is(statSync(victim).mode & 0o777, 0o644);
    assert.ok(lstatSync(file).isFile());
    assert.is(readFileSync(file, 'utf8'), 'text');

    // Who has it open would read what is written.
    writeFileSync(temporary, '');
    const open = openSync(temporary, 'r');
    writeAtomically(file, 'secret', { mode: 0o600 });
    assert.is(readFileSync(open, 'utf8'), '');
    closeSync(open);
    assert.equal(readdirSync(directory), ['file', 'victim']);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('directories are made with their parents, and where none can be made that is said', () => {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-files-'));
  try {
    const path = join(directory, 'a/b/c');
    makeDirectory(path);
    makeDirectory(path);
    for (const one of [path, dirname(path)]) assert.is(statSync(one).mode & 0o777, 0o755);
    assert.throws(() => makeDirectory('/proc/wormhole/x'), /ENOENT/);
    writeFileSync(join(path, 'file'), '');
    assert.throws(() => makeDirectory(join(path, 'file')), /EEXIST/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test.run();
