import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KeyUnusable, readKeys } from '../../src/api/key.ts';

const directory = mkdtempSync(join(tmpdir(), 'wormhole-key-'));
const file = join(directory, 'key.secret');
const test = suite('key file');
test.after(() => rmSync(directory, { recursive: true }));

function write(text: string, mode = 0o600): void {
  rmSync(file, { force: true });
  writeFileSync(file, text);
  chmodSync(file, mode);
}

function refuses(expected: RegExp, of = file): void {
  assert.throws(
    () => readKeys(of),
    (error: Error) => error instanceof KeyUnusable && expected.test(error.message),
  );
}

test('a key of 16 characters will do, one of 15 will not', () => {
  write('0123456789abcdef');
  assert.is(readKeys(file).length, 1);
  write('0123456789abcde');
  refuses(/holds a key of 15 characters only, 16 are the least: openssl rand -hex 32/);
});

test('spaces around a key and empty lines do not count', () => {
  write('0123456789abcdef');
  const [bare] = readKeys(file);
  write('\n  0123456789abcdef \r\n\n');
  assert.equal(readKeys(file), [bare]);
});

test('spaces do not make a key longer', () => {
  write(`${' '.repeat(20)}short\n`);
  refuses(/5 characters only/);
});

test('each line is a key, the first one first; a short second one spoils the file', () => {
  write('the first of two keys\nthe second of two keys\n');
  const both = readKeys(file);
  assert.is(both.length, 2);
  write('the second of two keys\n');
  assert.equal(readKeys(file), both.slice(1));
  write('the first of two keys\nshort\n');
  refuses(/5 characters only/);
});

test('keys that differ in one character have nothing in common', () => {
  write('0123456789abcdef\n0123456789abcdeF\n');
  const [one, other] = readKeys(file);
  assert.is.not(one.identity, other?.identity);
  assert.not.equal(one.secret, other?.secret);
  assert.is(one.secret.length, 32);
});

test('what is derived stays the same from version to version', () => {
  // Printed by: openssl kdf -keylen N -kdfopt digest:SHA256 -kdfopt key:TEXT -kdfopt info:INFO HKDF
  write('0123456789abcdef');
  const [key] = readKeys(file);
  assert.is(key.identity, 'wormhole-16d71f25d97d0085');
  assert.is(key.secret.toString('hex'), '4b637064598d9a9e1dc4bd1770de4f4c1ad77c6d430fd6e1810008b3f33ed8a5');
});

test('empty files and missing ones', () => {
  write('');
  refuses(/holds no key, 16 are the least/);
  refuses(/^no key file \/nowhere\/key: copy it from/, '/nowhere/key');
});

for (const mode of [0o644, 0o640, 0o606, 0o660, 0o700, 0o4600]) {
  test(`mode ${mode.toString(8)} is refused, with the command that puts it right`, () => {
    write('0123456789abcdef', mode);
    refuses(
      new RegExp(`has mode ${mode.toString(8).padStart(4, '0')}, others may get at it: chmod 600 ${file}$`),
    );
  });
}

test('mode 400 is as good as 600', () => {
  write('0123456789abcdef', 0o400);
  assert.is(readKeys(file).length, 1);
});

test('a symlink counts as what it leads to', () => {
  write('0123456789abcdef', 0o644);
  const link = join(directory, 'link');
  symlinkSync(file, link);
  refuses(/has mode 0644/, link);
  chmodSync(file, 0o600);
  assert.is(readKeys(link).length, 1);
});

test('what is no key file at all', () => {
  mkdirSync(join(directory, 'folder'), { mode: 0o700 });
  refuses(/is not a file/, join(directory, 'folder'));
  refuses(/is not a file/, '/dev/null');
  write('0123456789abcdef\n'.repeat(1000));
  refuses(/has 17000 bytes; is it another file\?/);
});

test.run();
