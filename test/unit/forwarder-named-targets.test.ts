import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Log } from '../../src/forwarder/log.ts';
import { readNameFile } from '../../src/forwarder/name-file.ts';
import {
  avoid,
  createNamedTargets,
  describeName,
  isAvoided,
  mustWait,
  parseOnce,
  setList,
} from '../../src/forwarder/named-targets.ts';

/* The addresses of a target that has a name: in which order they are tried, when a client waits for a lookup, and the file. */

const [a, b, c] = ['10.0.0.1:80', '[fd00::1]:80', '10.0.0.3:80'].map(parseOnce) as [
  ReturnType<typeof parseOnce>,
  ReturnType<typeof parseOnce>,
  ReturnType<typeof parseOnce>,
];

test('an address is parsed once, and again after very many others', () => {
  const first = parseOnce('10.1.0.0:1');
  assert.is(parseOnce('10.1.0.0:1'), first);
  assert.is(first.text, '10.1.0.0:1');
  assert.throws(() => parseOnce('db:1'), /"db:1" is not an address/);
  for (let n = 0; n < 1024; n++) parseOnce(`10.2.${n >> 8}.${n & 255}:1`);
  assert.is.not(parseOnce('10.1.0.0:1'), first);
});

test('an address that has failed is tried last for a minute', () => {
  const named = createNamedTargets('db:80');
  setList(named, [a, b, c], 0);
  assert.equal(named.list, [a, b, c]);
  avoid(named, a, 1000);
  assert.ok(isAvoided(named, a));
  assert.not(isAvoided(named, b));
  setList(named, [a, b, c], 2000);
  assert.equal(named.list, [b, c, a]);
  avoid(named, a, 30_000);
  setList(named, [a, b, c], 61_000);
  assert.equal(named.list, [b, c, a]);
  setList(named, [a, b, c], 89_999);
  assert.equal(named.list, [b, c, a]);
  setList(named, [a, b, c], 90_000);
  assert.equal(named.list, [a, b, c]);
  assert.not(isAvoided(named, a));
});

test('a client waits for a lookup as long as that may take, but not for one that is not due or does not go on', () => {
  let asked = 0;
  const refresh = (goesOn: boolean) => () => {
    asked++;
    return goesOn;
  };
  const named = createNamedTargets('db:80');
  // Nothing is known yet.
  assert.ok(mustWait(named, 0, refresh(true)));
  assert.is(named.waitUntil, 3500);
  assert.ok(mustWait(named, 3499, refresh(true)));
  assert.is(named.waitUntil, 3500);
  assert.not(mustWait(named, 3500, refresh(true)));
  const other = createNamedTargets('db:80');
  assert.not(mustWait(other, 0, refresh(false)));
  other.expiresAt = 1000;
  asked = 0;
  assert.not(mustWait(other, 999, refresh(true)));
  assert.is(asked, 0);
  assert.ok(mustWait(other, 1000, refresh(true)));
  assert.is(asked, 1);
});

test('after a lookup that has failed, a client uses the addresses of before, if there are any', () => {
  const named = createNamedTargets('db:80');
  named.problem = 'no DNS server answers';
  assert.ok(mustWait(named, 0, () => true));
  const known = createNamedTargets('db:80');
  known.problem = 'no DNS server answers';
  setList(known, [a], 0);
  assert.not(mustWait(known, 0, () => true));
  known.problem = undefined;
  assert.ok(mustWait(known, 0, () => true));
});

test('a name is described with its addresses', () => {
  const named = createNamedTargets('db:80');
  assert.is(describeName(named), 'db:80');
  setList(named, [a], 0);
  assert.is(describeName(named), 'db:80 (10.0.0.1)');
  setList(named, [a, b], 0);
  assert.is(describeName(named), 'db:80 (10.0.0.1 and fd00::1)');
});

const directory = mkdtempSync(join(tmpdir(), 'wormhole-name-'));
test.after(() => rmSync(directory, { recursive: true }));
const file = join(directory, 'name');

/** Reads a file with this text. */
function read(text: string): { answer: ReturnType<typeof readNameFile>; logged: string[] } {
  const logged: string[] = [];
  const log: Log = {
    info: (line) => logged.push(line),
    error: (line) => logged.push(line),
    failure: (_, line, summary) => logged.push(line, summary(3)),
    flush() {},
  };
  writeFileSync(file, text);
  return { answer: readNameFile(file, 'db:80', log), logged };
}

const lines = (...words: string[]) => ['wormhole name 1', 'name db:80', ...words, 'end', ''].join('\n');
const texts = ({ list = [] }: ReturnType<typeof readNameFile>) => list.map(({ text }) => text);

test('the file has addresses in their order, the time that they are valid, and what has failed', () => {
  const { answer, logged } = read(
    lines('address 10.0.0.2:80', 'address [fd00::1]:80', 'problem no DNS server answers (asked 10.0.0.1)'),
  );
  assert.equal(texts(answer), ['10.0.0.2:80', '[fd00::1]:80']);
  assert.is(answer.to?.text, '10.0.0.2:80');
  assert.is(answer.problem, 'no DNS server answers (asked 10.0.0.1)');
  assert.is(answer.expiresAt, undefined);
  assert.equal(logged, []);
  const { answer: plain } = read(lines('address 10.0.0.2:80'));
  assert.not('problem' in plain);
  const now = Number(process.hrtime.bigint() / 1_000_000n);
  const { expiresAt = 0 } = read(lines(`until ${now + 5000}`)).answer;
  assert.ok(Math.abs(expiresAt - (performance.now() + 5000)) < 2000, `${expiresAt}`);
  const { answer: none } = read(lines());
  assert.equal(none, { list: [] });
});

test('no more than 16 addresses are read', () => {
  const all = Array.from({ length: 20 }, (_, n) => `10.0.1.${n}:80`);
  assert.equal(texts(read(lines(...all.map((one) => `address ${one}`))).answer), all.slice(0, 16));
});

test('what is empty, being written, or about another name says nothing', () => {
  for (const text of [
    '',
    '\0\0\0',
    'wormhole name 1\nname db:80\naddress 10.0.0.2:80\n',
    lines('address 10.0.0.2:80').replace('db:80', 'other:80'),
  ])
    assert.equal(read(text), { answer: {}, logged: [] }, text);
  rmSync(file);
  assert.equal(readNameFile(file, 'db:80', { failure: () => assert.unreachable() } as unknown as Log), {});
  // What stands behind a NUL is what a longer file has had.
  assert.equal(texts(read(`${lines('address 10.0.0.2:80')}\0address 10.0.0.3:80\n`).answer), ['10.0.0.2:80']);
});

test('what makes no sense is logged', () => {
  const begin = `the addresses in ${file} are of no use: `;
  for (const [text, reason] of [
    ['x\ny', 'it begins with "x"'],
    [`${'z'.repeat(50)}`, `it begins with "${'z'.repeat(40)}"`],
    [lines('address db:80'), '"db:80" is not an address like 127.0.0.1:3306 or [::1]:80'],
  ] as const)
    assert.equal(read(text), {
      answer: {},
      logged: [begin + reason, `${begin}${reason}; 3 more times in the last 10 s`],
    });
});

test.run();
