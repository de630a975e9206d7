import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { volumeName } from '../../src/docker/volumes.ts';
import { parseRunArguments } from '../../src/docker-run/arguments.ts';
import { anonymousVolumes, withVolumes } from '../../src/docker-run/declared-volumes.ts';

const wanted = (args: string, declared: string[] = []) => anonymousVolumes(parseRunArguments(args), declared);

test('the name of a volume tells the run and the path', () => {
  assert.is(volumeName('3306', '/var/lib/mysql'), 'wormhole-3306-var-lib-mysql');
  assert.is(volumeName('a', '/data.d'), 'wormhole-a-data.d');
});

test('no two paths of a run have one name, and each is a name of a volume', () => {
  const paths = [
    '/a/b',
    '/a-b',
    '/a_b',
    '/a_2db',
    '/a b',
    '/ä',
    '/a\u001b[2J',
    '/A/b',
    `/${'x'.repeat(300)}`,
  ];
  paths.push(`/${'x'.repeat(299)}y`);
  const names = paths.map((path) => volumeName('run', path));
  assert.is(new Set(names).size, paths.length);
  for (const name of names) assert.match(name, /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,200}$/);
});

test('what the image declares, and anonymous volumes of docker-run, need one', () => {
  assert.equal(wanted('image', ['/var/lib/mysql', '/log/']), ['/log', '/var/lib/mysql']);
  assert.equal(wanted('-v /data -v /data/ --mount type=volume,dst=/m image', ['/data']), ['/data', '/m']);
});

test('where there is a bind, a named volume or a tmpfs, nothing is added', () => {
  for (const option of [
    '-v /srv:/data',
    '-v named:/data:ro',
    '-v named:/data/',
    '--tmpfs /data:size=1m',
    '--mount type=bind,src=/srv,dst=/data',
    '--mount src=named,dst=/data',
    '--mount type=tmpfs,dst=/data',
  ])
    assert.equal(wanted(`${option} image`, ['/data', '/other']), ['/other'], option);
});

test('an anonymous mount keeps its settings and gets the name of the volume', () => {
  const { container } = parseRunArguments(
    '--mount type=volume,dst=/m,readonly --mount src=named,dst=/n image',
  );
  assert.equal(
    withVolumes(
      container.HostConfig?.Mounts ?? [],
      new Map([
        ['/m', 'one'],
        ['/data', 'two'],
      ]),
    ),
    [
      { Type: 'volume', Source: 'one', Target: '/m', ReadOnly: true },
      { Type: 'volume', Source: 'named', Target: '/n' },
      { Type: 'volume', Source: 'two', Target: '/data' },
    ],
  );
});

test.run();
