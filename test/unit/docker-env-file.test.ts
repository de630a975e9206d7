import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readEnvFiles } from '../../src/docker/env-file.ts';

const test = suite('files of environment variables');
const directory = mkdtempSync(join(tmpdir(), 'wormhole-env-'));
const path = (name: string) => join(directory, name);

const failure = (name: string): Promise<string> =>
  readEnvFiles([path(name)]).then(
    () => 'it was read',
    (error: Error) => error.message.replace(directory, ''),
  );

test('lines are taken as they stand, in the order of files', async () => {
  writeFileSync(path('a'), '\uFEFF# comment\r\nA= "one" \n\n  B=two=2\nÄ=\n');
  writeFileSync(path('b'), 'A=three');
  assert.equal(await readEnvFiles([path('a'), path('b')]), ['A= "one" ', 'B=two=2', 'Ä=', 'A=three']);
});

test('a file whose owner means harm neither blocks the start of a container nor fills the memory', async () => {
  execFileSync('mkfifo', [path('pipe')]);
  symlinkSync('/dev/zero', path('zero'));
  symlinkSync('/proc/self', path('directory'));
  writeFileSync(path('large'), '');
  truncateSync(path('large'), 2 ** 40);
  symlinkSync('loop', path('loop'));
  assert.equal(await Promise.all(['pipe', 'zero', 'directory', 'large', 'loop', 'none'].map(failure)), [
    '--env-file "/pipe" cannot be read: it is not a regular file',
    '--env-file "/zero" cannot be read: it is not a regular file',
    '--env-file "/directory" cannot be read: it is not a regular file',
    '--env-file "/large" cannot be read: it is larger than 2 MiB',
    '--env-file "/loop" cannot be read: ELOOP',
    '--env-file "/none" cannot be read: ENOENT',
  ]);
});

test('a message names the line of the fault and quotes nothing of it', async () => {
  writeFileSync(path('wrong'), 'A=1\nSw0rdf1sh\n');
  assert.is(await failure('wrong'), '--env-file "/wrong", line 2: write NAME=VALUE');
});

test.after(() => rmSync(directory, { recursive: true }));
test.run();
