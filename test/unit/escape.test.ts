import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  escapeDescription,
  escapePath,
  escapeUnitName,
  escapeWord,
  plainValue,
  quoteArgument,
  quoteProgram,
  unescapeUnitName,
} from '../../src/units/escape.ts';

// Printed by: systemd-escape TEXT
const known: [string, string][] = [
  ['blue', 'blue'],
  ['a/b', 'a-b'],
  ['my-app', 'my\\x2dapp'],
  ['.hidden', '\\x2ehidden'],
  ['a.b', 'a.b'],
  ['x@y z', 'x\\x40y\\x20z'],
  ['grün', 'gr\\xc3\\xbcn'],
  ['50%\\', '50\\x25\\x5c'],
];

for (const [text, escaped] of known) {
  test(`escapes ${JSON.stringify(text)} for a unit name`, () => assert.is(escapeUnitName(text), escaped));
}

test('escapes as systemd-escape does', () => {
  const texts = fc
    .sample(fc.string({ minLength: 1, unit: 'binary' }), 200)
    .filter((text) => !text.includes('\0'));
  const result = spawnSync('systemd-escape', ['--', ...texts], { encoding: 'utf8' });
  assert.is(result.error, undefined, 'systemd-escape is needed to compare with');
  assert.equal(texts.map(escapeUnitName), result.stdout.trimEnd().split(' '));
});

test('what is escaped for a unit name comes back', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.is(unescapeUnitName(escapeUnitName(text)), text);
    }),
  );
});

test('specifiers stay as they are written', () => {
  assert.is(escapePath('/100%i/a b'), '/100%%i/a b');
  assert.is(escapeWord('100%i'), '100%%i');
  assert.is(escapeDescription('100%i'), '100%%i');
});

test('a description has neither a line break nor a backslash', () => {
  assert.is(escapeDescription('netns blue\\'), 'netns blue\\x5c');
  assert.is(escapeDescription('a\nb'), 'a\\x0ab');
});

test('what would not come back as it is is refused', () => {
  for (const text of ['a\n', 'a\nb', 'a\\', ' a', 'a\t', '\ufeffa', 'a\0'])
    assert.throws(() => plainValue(text), /^".*" cannot stand in a unit file: /, JSON.stringify(text));
  assert.is(plainValue('a\\ b$%"'), 'a\\ b$%"');
  for (const text of ['a b', "a'", 'a"'])
    assert.throws(() => escapeWord(text), /has a blank or a quote/, text);
});

test('quotes what systemd would split, expand or unescape', () => {
  assert.is(quoteArgument('127.0.0.1:3306'), '127.0.0.1:3306');
  assert.is(quoteArgument('[::1]:80'), '[::1]:80');
  assert.is(quoteArgument('container mysql'), '"container mysql"');
  assert.is(quoteArgument('a"b\\c'), '"a\\"b\\\\c"');
  assert.is(quoteArgument('$HOME and %i'), '"$$HOME and %%i"');
  assert.is(quoteArgument(''), '""');
  assert.is(quoteArgument(';'), '";"');
  assert.is(quoteArgument('a\nb'), '"a\\x0ab"');
  assert.is(quoteProgram('/a b/$c/%d'), '"/a b/$c/%%d"');
  assert.throws(() => quoteArgument('a\0b'), /a NUL/);
});

test.run();
