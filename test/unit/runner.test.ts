import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { affected, type Files } from '../changed.ts';
import { failuresIn } from '../failures.ts';
import { choose, type Job } from '../lanes.ts';

const changes = suite('what a change can affect');

const texts: Record<string, string> = {
  'src/cli/list.ts': "import { read } from '../links/read.js';",
  'src/links/read.ts': "import type { Link } from '../recipe/link.js';",
  'src/recipe/link.ts': '',
  'src/docker/engine.ts': '',
  'src/tunnels/raise.ts': '',
  'src/forwarder/main.ts': "import './loop.js';",
  'src/forwarder/loop.ts': '',
  'templates/head.socket.hbs': '',
  'test/unit/list.test.ts': "import { list } from '../../src/cli/list.ts';",
  'test/programs.ts': "join(root, 'dist/wormhole.cjs'); join(root, 'dist/forwarder.cjs')",
  'test/unit/forwarder.test.ts': "import { programs } from '../programs.ts'; run(programs.forwarder);",
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the text of a test
  'test/unit/render.test.ts': 'new URL(`../../templates/${name}.hbs`, import.meta.url)',
  'test/lab/rig/host.ts': '',
  'test/lab/docker.test.ts': "import { boot } from './rig/host.ts'; // Docker, in /src/wormhole/",
  'test/lab/traffic.test.ts': "import { boot } from './rig/host.ts'; await host.run('man wormhole');",
  'test/ipsec/links.test.ts': "create('url :80 tunnel beta tail')",
};
const files: Files = {
  read: (path) => texts[path],
  isDirectory: (path) => Object.keys(texts).some((name) => name.startsWith(path.replace(/\/?$/, '/'))),
};
const tests = Object.keys(texts).filter((path) => path.endsWith('.test.ts'));
const [all, none]: [string[], string[]] = [tests, []];
const machines = ['test/lab/docker.test.ts', 'test/lab/traffic.test.ts', 'test/ipsec/links.test.ts'];

const cases: [what: string, changed: string, expected: string[]][] = [
  ['what is imported, over files between', 'src/recipe/link.ts', ['test/unit/list.test.ts', ...machines]],
  [
    'what a compiled program is made of',
    'src/forwarder/loop.ts',
    ['test/unit/forwarder.test.ts', ...machines],
  ],
  ['a folder that is named', 'templates/tail.service.hbs', ['test/unit/render.test.ts', ...machines]],
  ['a part of the product that few are about', 'src/docker/engine.ts', ['test/lab/docker.test.ts']],
  ['another one', 'src/tunnels/raise.ts', ['test/ipsec/links.test.ts']],
  ['the manual', 'man/wormhole.1', ['test/lab/traffic.test.ts']],
  ['a test itself', 'test/unit/list.test.ts', ['test/unit/list.test.ts']],
  ['what tests share', 'test/lab/rig/host.ts', ['test/lab/docker.test.ts', 'test/lab/traffic.test.ts']],
  ['what is only read', 'README.md', none],
  ['what is not known', 'package.json', all],
  ['a new folder', 'build/main.ts', all],
];
for (const [what, changed, expected] of cases) {
  changes(what, () => {
    assert.equal(affected([changed], tests, files), expected);
    assert.equal(affected(['README.md', changed], tests, files), expected, 'beside another');
  });
}

changes.run();

const lanes = suite('which job begins');

const job = (name: string, lanes: number): Job & { name: string } => ({ name, lanes, seconds: 0 });

lanes('the first that there is room for', () => {
  const [one, two, three] = [job('one', 2), job('two', 2), job('three', 1)];
  assert.is(choose([one, two], [], 4), one);
  assert.is(choose([two], [one], 4), two);
  assert.is(choose([two], [one, three], 4), undefined);
  assert.is(choose([two], [], 1), two, 'alone it may take more than there is');
  assert.is(choose([], [one], 4), undefined);
});

lanes('one of several lanes at a time, while there are others', () => {
  const [one, two, three] = [job('one', 2), job('two', 2), job('three', 1)];
  assert.is(choose([two, three], [one], 4), three);
  assert.is(choose([two], [one], 4), two);
});

lanes.run();

const repeated = suite('what a run repeats at its end');

/** What a file of tests prints, of which one or two have failed. */
const printed = (...messages: string[]): string =>
  `some tests  • ✘ • ✘   (2 / 4)

${messages.map((message, n) => `\u001B[31m   FAIL  \u001B[39m"test ${n}"\n    ${message}\n    at is (file:///src/node_modules/uvu/assert/index.mjs:41:2)\n    at <anonymous> (/src/test/lab/some.test.ts:${n}:14)\n`).join('\n')}

  Total:     4
  Passed:    2
  Skipped:   0
  Duration:  12.34ms
`;

repeated('each test that failed, why, and where, a line each', () => {
  assert.equal(failuresIn(printed('not equal\n        ++1\n\n        --2', 'no such file')), [
    '"test 0": not equal | ++1 | --2 (test/lab/some.test.ts:0:14)',
    '"test 1": no such file (test/lab/some.test.ts:1:14)',
  ]);
});

repeated('of many failures the first two', () => {
  const [, , ...others] = failuresIn(printed('one', 'two', 'three', 'four'));
  assert.equal(others, ['… and 2 more']);
});

repeated('only the beginning of a long message', () => {
  const [failure = ''] = failuresIn(printed('x'.repeat(1000)));
  assert.match(failure, /^"test 0": x{280}… \(test\/lab\/some.test.ts:0:14\)$/);
});

repeated('the last lines of a file that broke off', () => {
  const output = Array.from({ length: 60 }, (_, n) => `line ${n}`).join('\n');
  const [failure = '', ...others] = failuresIn(`${output}\n\n`);
  assert.equal(others, []);
  assert.match(failure, /^… .*line 58 \| line 59$/);
  assert.ok(failure.length < 400);
});

repeated.run();
