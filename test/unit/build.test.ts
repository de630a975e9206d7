import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { build } from '../../build/build.ts';
import { buildPrograms, programs } from '../programs.ts';
import { closeAll, hear, launch, serve, until } from './forwarder-launch.ts';

/* What npm run build makes: that it needs nothing else, that it is the same each time, and what it says when it fails. */

const root = fileURLToPath(new URL('../..', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'wormhole-build-'));

/** The packages that stand in for those that are not used: links in node_modules. */
const unused = readdirSync(join(root, 'build/unused'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(
    ({ name }) =>
      JSON.parse(readFileSync(join(root, 'build/unused', name, 'package.json'), 'utf8')).name as string,
  );

test.before(buildPrograms);
test.after(() => rmSync(directory, { recursive: true }));
test.after.each(closeAll);

/** The names of all files below a directory, sorted, except for hidden ones. */
function filesIn(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .sort();
}

/** A script to be loaded before a program. */
function preload(name: string, script: string): string {
  const path = join(directory, name);
  writeFileSync(path, script);
  return path;
}

/** The packages that a program contains, by its source map. */
function packagesOf(program: string): string[] {
  const { sources } = JSON.parse(readFileSync(`${program}.map`, 'utf8')) as { sources: string[] };
  return sources.flatMap((source) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(source)?.[1] ?? []);
}

/** What the page contains beside packages that a program has too; it has no source map. */
const PAGE_PACKAGES = ['uplot'];

const packages = () =>
  [...new Set([...Object.values(programs).flatMap(packagesOf), ...PAGE_PACKAGES])].sort();

test('two builds of the same sources are the same, wherever they are', async () => {
  // A copy of all that is built from, deeper in the file system and under another name.
  const copy = join(directory, 'another/place/for/it');
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  // No program has the packages of the page in it.
  const packed = new Set(['koffi', '@koromix', ...packages(), ...Object.keys(dependencies), ...unused]);
  const modules = [...packed].map((name) => `node_modules/${name}`);
  for (const name of ['src', 'templates', 'build', 'package.json', 'tsconfig.json', ...modules])
    cpSync(join(root, name), join(copy, name), { recursive: true, verbatimSymlinks: true });
  const [here, there] = [join(directory, 'here'), join(directory, 'there')];
  await build(root, here);
  await build(copy, there);
  assert.equal(filesIn(there), filesIn(here));
  for (const name of filesIn(here))
    assert.ok(readFileSync(join(here, name)).equals(readFileSync(join(there, name))), `${name} differs`);
});

test('a build replaces what an older one has left', async () => {
  const out = join(directory, 'old');
  mkdirSync(join(out, 'docker'), { recursive: true });
  writeFileSync(join(out, 'docker/engine.js'), '');
  writeFileSync(join(out, '.built'), '');
  await build(root, out);
  assert.equal(filesIn(out), filesIn(join(root, 'dist')));
  assert.ok(readdirSync(out).includes('.built'));
  assert.not.ok(readdirSync(out).includes('docker'));
});

test('the programs need no package', () => {
  const alone = join(directory, 'alone');
  cpSync(join(root, 'dist'), alone, { recursive: true });
  const run = (...args: string[]) => execFileSync(process.execPath, args, { cwd: '/', encoding: 'utf8' });
  const words = ['create', '--dry-run', 'url', ':3306', 'tail', 'url', ':3307'];
  const units = run(join(alone, 'wormhole.cjs'), ...words);
  assert.match(units, `${alone}/forwarder.cjs --link 3306`);
  assert.match(run(join(alone, 'wormholed.cjs'), '--help'), /^Usage: wormholed/);
  // What units of earlier versions start.
  assert.is(run(join(alone, 'cli/main.js'), ...words), units);
  const { stderr, status } = spawnSync(process.execPath, [join(alone, 'forwarder/main.js')], {
    encoding: 'utf8',
  });
  assert.match(stderr, /^<3>wormhole forwarder: --link is missing/);
  assert.is(status, 2);
});

test('what they load is a part of Node or of the build', () => {
  for (const program of Object.values(programs)) {
    const names = [...readFileSync(program, 'utf8').matchAll(/\brequire\d*\("([^"]+)"\)/g)].map(
      ([, name]) => name ?? '',
    );
    const others = names.filter((name) => !name.startsWith('node:') && !builtinModules.includes(name));
    assert.equal([...new Set(others)], ['./koffi.node'], program);
  }
});

test('the licence of each package is kept', () => {
  const text = readFileSync(join(dirname(programs.wormhole), 'THIRD-PARTY-LICENSES'), 'utf8');
  assert.ok(packages().includes('dockerode') && packages().includes('commander'));
  for (const name of ['koffi', ...packages()]) {
    const { version } = JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8'));
    const section = text.split(/^={80}$/m).find((part) => part.trim().startsWith(`${name} ${version}`));
    assert.match(section ?? '', /copyright|author/i, name);
  }
});

test('the stack trace of a crash names the source, and the line', async () => {
  const crash = preload(
    'crash.cjs',
    `setImmediate(() => (performance.now = () => { throw new Error('made by the test'); }));`,
  );
  const forwarder = await launch({ to: '127.0.0.1:1', env: { NODE_OPTIONS: `--require ${crash}` } });
  await until(() => /^Node\.js/m.test(forwarder.log()));
  const [, file = '', line] = /at \w+ \((src\/forwarder\/loop\.ts):(\d+):\d+\)/.exec(forwarder.log()) ?? [];
  const source = readFileSync(join(root, file || 'src/forwarder/loop.ts'), 'utf8').split('\n')[
    Number(line) - 1
  ];
  assert.match(source ?? forwarder.log(), /performance\.now\(/);
  assert.match(forwarder.log(), /^Error: made by the test$/m);
});

test('source maps are read by the first stack trace, not at the start', () => {
  const hook = preload(
    'maps.cjs',
    `const fs = require('node:fs');
    const read = fs.readFileSync;
    fs.readFileSync = (path, ...rest) => {
      if (String(path).endsWith('.map')) process.stderr.write('reads ' + path + '\\n');
      return read(path, ...rest);
    };
    process.geteuid = () => { process.stderr.write(new Error('made by the test').stack + '\\n'); return 1; };`,
  );
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['--require', hook, programs.wormhole, ...args], { encoding: 'utf8' }).stderr;
  assert.is(run('--version'), '');
  assert.is(run('create', '--dry-run', 'url', ':1', 'tail', 'url', ':2'), '');
  const [first, second, ...frames] = run('create', 'url', ':1', 'tail', 'url', ':2').split('\n');
  assert.is(first, `reads ${programs.wormhole}.map`);
  assert.is(second, 'Error: made by the test');
  assert.ok(
    frames.some((frame) => /^ {4}at requireRoot \(src\/cli\/fail\.ts:\d+:\d+\)$/.test(frame)),
    frames.join('\n'),
  );
});

test('a program without its source map has the stack traces that it would have', () => {
  const bare = join(directory, 'bare');
  cpSync(join(root, 'dist'), bare, { recursive: true, filter: (path) => !path.endsWith('.map') });
  const hook = preload(
    'euid.cjs',
    `process.geteuid = () => { console.error(new Error('made').stack); return 1; };`,
  );
  const { stderr } = spawnSync(
    process.execPath,
    ['--require', hook, join(bare, 'wormhole.cjs'), 'create', 'url', ':1', 'tail', 'url', ':2'],
    { encoding: 'utf8' },
  );
  assert.match(stderr, `at requireRoot (${bare}/wormhole.cjs:`);
});

test('the forwarder starts without the parts of Node that are slow to load', async () => {
  const hook = preload(
    'loaded.cjs',
    `process.on('exit', () => require('node:fs').writeSync(2, process.moduleLoadList.join('\\n') + '\\n'));`,
  );
  const { port } = await serve((socket) => socket.end('answer'));
  const forwarder = await launch({ to: port, env: { NODE_OPTIONS: `--require ${hook}` } });
  assert.is(await hear(forwarder.port), 'answer');
  forwarder.kill('SIGTERM');
  await forwarder.exited;
  const loaded = forwarder
    .log()
    .split('\n')
    .map((line) => line.replace(/^NativeModule /, ''));
  assert.ok(loaded.includes('fs'));
  for (const slow of ['net', 'stream', 'http', 'crypto', 'child_process', 'worker_threads'])
    assert.not.ok(loaded.includes(slow), slow);
});

test('what is not used is not installed', () => {
  const lock = readFileSync(join(root, 'package-lock.json'), 'utf8');
  const { packages: locked } = JSON.parse(lock) as { packages: Record<string, { link?: boolean }> };
  assert.ok(unused.includes('ssh2') && unused.includes('@grpc/grpc-js'));
  for (const name of unused) {
    const entries = Object.entries(locked).filter(([path]) => path.endsWith(`node_modules/${name}`));
    assert.equal(
      entries.map(([path, { link }]) => [path, link]),
      [[`node_modules/${name}`, true]],
    );
    assert.ok(lstatSync(join(root, 'node_modules', name)).isSymbolicLink(), name);
  }
});

test.run();
