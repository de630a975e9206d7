import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('the names of machines');

/** The numbers of threads of the services that ask machines; half of them look up names at a time. */
const threads = ['wormholed.service', 'wormhole-far.service', 'wormhole-services@.service'].map((unit) => {
  const text = readFileSync(new URL(`../../units/${unit}`, import.meta.url), 'utf8');
  return /^Environment=UV_THREADPOOL_SIZE=(\d+)$/m.exec(text)?.[1];
});

test('a name server that does not answer keeps no machine waiting whose address is known', () => {
  assert.is(new Set(threads).size, 1);
  const isRoot = process.geteuid?.() === 0;
  const program = fileURLToPath(new URL('./api-lookups-run.ts', import.meta.url));
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    [
      ...(isRoot ? [] : ['--map-root-user']),
      ...['--mount', '--net', process.execPath, '--import', 'tsx', program],
    ],
    { encoding: 'utf8', env: { ...process.env, UV_THREADPOOL_SIZE: threads[0] }, timeout: 120_000 },
  );
  assert.is(status, 0, stderr);
  const [first, ...others]: string[] = JSON.parse(stdout);
  assert.match(first ?? '', /^no daemon at tcp:\/\/good\.example:9999, the connection is refused: /);
  assert.equal(
    others.toSorted(),
    ['five', 'four', 'one', 'three', 'two'].map(
      (name) => `machine "${name}.example" is unknown: DNS has not answered for 10 s`,
    ),
  );
});

test.run();
