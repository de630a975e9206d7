import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('the names of machines');

/** The number of threads of the services that ask machines; half of them look up names at a time. */
const UNITS = { ...process.env, UV_THREADPOOL_SIZE: '32' };

test('a name server that does not answer keeps no machine waiting whose address is known', () => {
  const isRoot = process.geteuid?.() === 0;
  const program = fileURLToPath(new URL('./api-lookups-run.ts', import.meta.url));
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    [
      ...(isRoot ? [] : ['--map-root-user']),
      ...['--mount', '--net', process.execPath, '--import', 'tsx', program],
    ],
    { encoding: 'utf8', env: UNITS, timeout: 120_000 },
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
