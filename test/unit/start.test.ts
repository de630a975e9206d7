import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { buildPrograms, programs } from '../programs.ts';

/* dist/start.cjs: that a program runs from its code cache as it would without, and never from that of another text. */

const directory = mkdtempSync(join(tmpdir(), 'wormhole-start-'));
const dist = join(directory, 'dist');
const start = join(dist, 'start.cjs');
const wormhole = join(dist, 'wormhole.cjs');

test.before(() => {
  buildPrograms();
  cpSync(dirname(programs.wormhole), dist, { recursive: true });
  const { status, stderr } = run(start, '--write-code-cache', wormhole, join(dist, 'wormholed.cjs'));
  assert.is(stderr, '');
  assert.is(status, 0);
});
test.after(() => rmSync(directory, { recursive: true }));

function run(...args: string[]) {
  const options: SpawnSyncOptions = { cwd: '/', env: { PATH: process.env.PATH } };
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { ...options, encoding: 'utf8' });
  return { status, stdout, stderr };
}

/** A program of one line that ends as built ones do, with its cache. */
function program(name: string, line: string, digest: string): string {
  const path = join(directory, name);
  writeFileSync(path, `#!/usr/bin/env node\n${line}\n//${digest.repeat(64)}\n`);
  return path;
}

const written = (path: string) => assert.is(run(start, '--write-code-cache', path).status, 0);

for (const words of [
  ['--version'],
  ['create', '--dry-run', 'url', ':3306', 'tail', 'url', ':3307'],
  ['create', 'nonsense'],
  ['no-such-command'],
  [],
])
  test(`wormhole ${words.join(' ')} is the same with the cache`, () => {
    const direct = run(wormhole, ...words);
    assert.equal(run(start, wormhole, ...words), direct);
    assert.ok(direct.stdout + direct.stderr);
  });

test('wormholed too', () => {
  assert.match(run(start, join(dist, 'wormholed.cjs'), '--help').stdout, /^Usage: wormholed/);
});

test('V8 accepts the cache', () => {
  // It says why it rejects one only to the caller of vm.Script.
  const spy = join(directory, 'spy.cjs');
  writeFileSync(
    spy,
    `const vm = require('node:vm');
    const { Script } = vm;
    vm.Script = class extends Script {
      constructor(...args) { super(...args); process.stderr.write('rejected: ' + this.cachedDataRejected + '\\n'); }
    };`,
  );
  assert.is(run('--require', spy, start, wormhole, '--version').stderr, 'rejected: false\n');
  assert.is(run('--require', spy, '--no-opt', start, wormhole, '--version').stderr, 'rejected: true\n');
  assert.is(run('--no-opt', start, wormhole, '--version').stdout, run(wormhole, '--version').stdout);
});

test('a program sees what node would show it', () => {
  const line =
    'console.log(JSON.stringify([process.argv.slice(1), __filename, __dirname, typeof exports, require.resolve("./other.cjs"), module.exports === exports, this === exports]));';
  const path = program('shows.cjs', line, 'a');
  writeFileSync(join(directory, 'other.cjs'), '');
  const direct = run(path, 'one', '--two').stdout;
  assert.is(run(start, path, 'one', '--two').stdout, direct);
  written(path);
  assert.is(run(start, path, 'one', '--two').stdout, direct);
  assert.match(direct, '["one","--two"]'.slice(1, -1));
});

test('a program may be named from the current directory', () => {
  const path = program('relative.cjs', 'console.log(process.argv[1], __filename)', 'a');
  const { stdout } = spawnSync(process.execPath, [start, 'relative.cjs'], {
    cwd: directory,
    encoding: 'utf8',
  });
  assert.is(stdout, `${path} ${path}\n`);
});

test('a program that has changed does not run from the cache of its former text, which is as long', () => {
  const path = program('changes.cjs', 'console.log("former")', 'a');
  written(path);
  assert.is(run(start, path).stdout, 'former\n');
  program('changes.cjs', 'console.log("latter")', 'b');
  assert.is(run(start, path).stdout, 'latter\n');
  written(path);
  assert.is(run(start, path).stdout, 'latter\n');
});

test('a cache that serves is not written again, and another one is', () => {
  const path = program('twice.cjs', 'console.log("runs")', 'a');
  written(path);
  const { ino } = statSync(`${path}.cache`);
  written(path);
  assert.is(statSync(`${path}.cache`).ino, ino);
  for (const former of [Buffer.alloc(0), readFileSync(`${path}.cache`).fill(1, 68, 72)]) {
    writeFileSync(`${path}.cache`, former);
    written(path);
    assert.not.ok(readFileSync(`${path}.cache`).equals(former));
  }
});

test('a cache that is empty, cut off or for another version of node is not used', () => {
  const path = program('cut.cjs', 'console.log("runs")', 'a');
  written(path);
  const cache = readFileSync(`${path}.cache`);
  const other = Buffer.from(cache);
  // The hash of V8's version is in the second word: SerializedCodeData, src/snapshot/code-serializer.h of V8.
  other.writeUInt32LE(1, 64 + 4);
  for (const content of [
    Buffer.alloc(0),
    cache.subarray(0, 30),
    cache.subarray(0, 64),
    cache.subarray(0, 90),
    other,
  ]) {
    writeFileSync(`${path}.cache`, content);
    assert.equal(run(start, path), { status: 0, stdout: 'runs\n', stderr: '' });
  }
});

test('the stack trace of a crash names the source', () => {
  const hook = join(directory, 'euid.cjs');
  writeFileSync(hook, `process.geteuid = () => { console.error(new Error('made').stack); return 1; };`);
  const words = ['create', 'url', ':1', 'tail', 'url', ':2'];
  const trace = (...args: string[]) =>
    run('--require', hook, ...args, ...words)
      .stderr.split('\n')
      .filter((line) => /at requireRoot/.test(line));
  assert.equal(trace(start, wormhole), trace(wormhole));
  assert.match(trace(wormhole).join('\n'), /at requireRoot \(src\/cli\/fail\.ts:\d+:\d+\)/);
});

test('a column in the first line is the one of the file', () => {
  const path = join(directory, 'column.cjs');
  writeFileSync(path, `console.log(new Error('x').stack.split('\\n')[1])\n//${'a'.repeat(64)}\n`);
  assert.match(run(start, path).stdout, /column\.cjs:1:13\b/);
  assert.match(run(path).stdout, /column\.cjs:1:13\b/);
});

test('no program at all is an error in one line', () => {
  const { status, stderr } = run(start);
  assert.is(status, 2);
  assert.match(stderr, /^start\.cjs: which program\? [^\n]+\n$/);
});

test('what cannot be written is said, and leaves nothing', () => {
  const path = join(directory, 'missing.cjs');
  const { status, stderr } = run(start, '--write-code-cache', path);
  assert.is(status, 1);
  assert.match(stderr, /^start\.cjs: no code cache for "[^"]+missing\.cjs": ENOENT[^\n]+\n$/);
  assert.not.ok(existsSync(`${path}.cache.new`));
});

test.run();
