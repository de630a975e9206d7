import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
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

const HEX = '5f0c1e9b2a7d4e68b3c1d0a9f8e7d6c5';
const OTHER = 'a9f8e7d6c5b4039281706f5e4d3c2b1a';

test('128 bits will do, in hexadecimal or base64', () => {
  for (const key of [
    HEX,
    HEX.toUpperCase(),
    `${HEX}${OTHER}0`,
    Buffer.from(HEX, 'hex').toString('base64'),
    Buffer.from(HEX, 'hex').toString('base64url'),
  ]) {
    write(key);
    assert.is(readKeys(file).length, 1, key);
  }
});

test('what openssl makes is accepted', () => {
  for (let n = 0; n < 500; n++) {
    for (const size of [16, 24, 32, 64]) {
      const random = randomBytes(size);
      write(`${random.toString('hex')}\n${random.toString('base64')}\n`);
      // Of 16 bytes in base64, one in 100,000 looks like words.
      if (size > 16) assert.is(readKeys(file).length, 2);
      else write(random.toString('hex'));
      readKeys(file);
    }
  }
});

for (const [text, fault] of [
  [HEX.slice(1), 'it has 124 bits only'],
  [HEX.slice(8), 'it has 96 bits only'],
  ['Xw8emyp9TmizwdCp+OfWx', 'it is neither hexadecimal nor base64'],
  ['Xw8emyp9TmizwdCp+OfW', 'it has 120 bits only'],
  ['aaaaaaaaaaaaaaaa', 'it has 64 bits only'],
  ['a'.repeat(64), 'it repeats itself, or is made of words'],
  ['0123456789abcdef'.repeat(2), 'it repeats itself, or is made of words'],
  ['00000000000000000000000000000001', 'it repeats itself, or is made of words'],
  ['swordfishswordfishswordfish', 'it is neither hexadecimal nor base64|it repeats itself'],
  ['thekeythatbothhaveandnobodyelse', 'it repeats itself, or is made of words'],
  ['the key that both machines have', 'it is neither hexadecimal nor base64'],
  ['# the key of our machines', 'there is a comment, and a key file holds nothing but keys'],
  ['; the key of our machines', 'there is a comment'],
  ['the key # of our machines', 'it is neither hexadecimal nor base64'],
  ['a -----BEGIN PRIVATE KEY-----', 'it is neither hexadecimal nor base64'],
  ['Xw8emyp=TmizwdCp+OfWxQ', 'it is neither hexadecimal nor base64'],
  ['-----BEGIN PRIVATE KEY-----', 'a PEM file begins there'],
  ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl', 'it is neither'],
  [`0x${HEX}`, 'it repeats itself, or is made of words'],
] as const) {
  test(`no key: ${text}`, () => {
    write(text);
    refuses(new RegExp(`^key file ${file}, line 1: (${fault})[^\\n]*openssl rand -hex 32`));
    assert.throws(
      () => readKeys(file),
      (error: Error) => !error.message.includes(text),
    );
    write(`${HEX}\n\n ${text}\n`);
    refuses(/, line 3: /);
  });
}

test('a whole PEM file is refused, although most of its lines could be keys', () => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  write(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
  refuses(/line 1: a PEM file begins there/);
});

test('spaces around a key and empty lines do not count', () => {
  write(HEX);
  const [bare] = readKeys(file);
  write(`\n  ${HEX} \r\n\n`);
  assert.equal(readKeys(file), [bare]);
});

test('each line is a key, the first one first', () => {
  write(`${HEX}\n${OTHER}\n`);
  const both = readKeys(file);
  assert.is(both.length, 2);
  write(`${OTHER}\n`);
  assert.equal(readKeys(file), both.slice(1));
});

test('keys that differ in one character have nothing in common', () => {
  write(`${HEX}\n${HEX.slice(0, -1)}6\n`);
  const [one, other] = readKeys(file);
  assert.is.not(one.identity, other?.identity);
  assert.not.equal(one.secret, other?.secret);
  assert.is(one.secret.length, 32);
});

test('what is derived stays the same from version to version', () => {
  // Printed by: openssl kdf -keylen N -kdfopt digest:SHA256 -kdfopt key:TEXT -kdfopt info:INFO HKDF
  write(HEX);
  const [key] = readKeys(file);
  assert.is(key.identity, 'wormhole-59b77320227d15c0');
  assert.is(key.secret.toString('hex'), 'bdfda2b4035e1536c5db89af02edea88c9987a38a43ff036999d5f1db04f7165');
});

test('empty files and missing ones', () => {
  write('');
  refuses(/holds no key: A key is 32 hexadecimal digits or more/);
  refuses(/^no key file \/nowhere\/key: copy it from/, '/nowhere/key');
});

for (const mode of [0o644, 0o640, 0o606, 0o660, 0o700, 0o4600]) {
  test(`mode ${mode.toString(8)} is refused, with the command that puts it right`, () => {
    write(HEX, mode);
    refuses(
      new RegExp(
        `has mode ${mode.toString(8).padStart(4, '0')}, ${mode & 0o077 ? 'so other users can read it' : 'and not 0600 or 0400'}: chmod 600 ${file}$`,
      ),
    );
  });
}

test('mode 400 is as good as 600', () => {
  write(HEX, 0o400);
  assert.is(readKeys(file).length, 1);
});

test('a symlink counts as what it leads to', () => {
  write(HEX, 0o644);
  const link = join(directory, 'link');
  symlinkSync(file, link);
  refuses(/has mode 0644/, link);
  chmodSync(file, 0o600);
  assert.is(readKeys(link).length, 1);
});

// Only root can give a file away.
const asRoot = process.geteuid?.() === 0 ? test : test.skip;
asRoot('a file of somebody else is refused', () => {
  write(HEX);
  chownSync(file, 65534, 65534);
  refuses(new RegExp(`belongs to uid 65534: chown root ${file}$`));
});

test('what is no key file at all', () => {
  mkdirSync(join(directory, 'folder'), { mode: 0o700 });
  refuses(/is not a file/, join(directory, 'folder'));
  refuses(/is not a file/, '/dev/null');
  write(`${HEX}\n`.repeat(1000));
  refuses(/has 33000 bytes; is it another file\?/);
  refuses(
    /^no key file .*missing: copy it from the machine that you want to reach$/,
    join(directory, 'missing'),
  );
  refuses(/^key file .* cannot be read: ENOTDIR$/, join(file, 'x'));
});

test.run();
