import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { hideEnvironment } from '../../src/docker-run/hide-environment.ts';
import { freeName } from '../../src/links/declared/export.ts';
import { comparableTexts, linkText } from '../../src/links/declared/text.ts';
import { recipeFromText } from '../../src/recipe/text.ts';
import { parseDeclaration } from '../../src/units/declaration.ts';
import { DEFAULT_OPTIONS } from '../../src/units/plan.ts';

/* The text of files that describe links. */

const extra = { Unit: [], Socket: [], Service: ['MemoryMax=1G'] };
const described = (recipe: string) => ({
  recipe: { ...recipeFromText(recipe), id: 'a' },
  options: { ...DEFAULT_OPTIONS, udpTimeout: 90, group: 'x' },
  extra,
});

test('the text of a link is read as the same link', () => {
  for (const recipe of [
    'url :80 tail url :81',
    `url :80 trigger docker-run "-e 'A=a b%c' -v data:/b tail" child url :1 remote box tail url :2`,
    'url unix:///run/a.sock tail url tcp://:1',
    "idle 5m url :80 tail docker-ns a weight 2 or url :81 or trigger docker-run '-e A=b or' or remote box tail url :2",
  ]) {
    const link = described(recipe);
    const read = parseDeclaration([{ path: 'f', text: linkText(link, 'a') }], { name: 'a', hostname: 'h' });
    assert.equal(
      read.kind === 'link' && { recipe: read.recipe, options: read.options, extra: read.extra },
      link,
    );
  }
});

test('the options of a link with several tails are in its file, and each tail has a line', () => {
  const { extra, ...link } = described('url :80 tail docker-ns a or trigger docker-ns b weight 3');
  const text = linkText(
    { ...link, extra, options: { ...DEFAULT_OPTIONS, balance: 'first', check: 90 } },
    'a',
  );
  assert.is(
    text.split('\n\n')[0],
    [
      '[Link]',
      'Recipe=url tcp://127.0.0.1:80 \\',
      '       tail url tcp://127.0.0.1:80 docker-ns a \\',
      '       or trigger url tcp://127.0.0.1:80 docker-ns b weight 3',
      'Balance=first',
      'Check=1m30s',
    ].join('\n'),
  );
  const read = parseDeclaration([{ path: 'f', text }], { name: 'a', hostname: 'h' });
  assert.equal(read.kind === 'link' && read.options, { ...DEFAULT_OPTIONS, balance: 'first', check: 90 });
});

test('what people compare tells no value of -e of one of several tails', () => {
  const one = described('url :80 tail docker-ns a or trigger docker-run "-e A=hunter2 nginx"');
  assert.not.match(JSON.stringify(comparableTexts(one, one, 'a')), /hunter/);
});

test('what people compare tells no value of -e, and that one has changed', () => {
  const one = described('url :80 trigger docker-run "-e A=hunter2 nginx"');
  const other = described('url :80 trigger docker-run "-e A=hunter3 nginx"');
  assert.not.match(JSON.stringify(comparableTexts(one, other, 'a')), /hunter/);
  const { former, next } = comparableTexts(one, other, 'a');
  assert.is(next, `${former}# A value that -e or --env gives is another one.\n`);
  const same = comparableTexts(one, one, 'a');
  assert.is(same.former, same.next);
});

test('each way to give a value is hidden', () => {
  const separate = ['-e A=s3', '--env A=s3', '-de A=s3', "-e 'A=b s3'"];
  const attached = ['--env=A=s3', '-eA=s3', '-e=A=s3', '-de=A=s3', '-e1A=s3', '-e-A=s3', '-dePASSe=s3'];
  for (const args of [...separate, ...attached])
    assert.not.match(hideEnvironment(`${args} nginx`), /s3/, args);
  assert.is(hideEnvironment('-e=HOME -eUSER -e1 nginx a=b'), '-e=HOME -eUSER -e1 nginx a=b');
  assert.is(hideEnvironment('--env-file /x -v a:/b nginx'), '--env-file /x -v a:/b nginx');
});

test('files that are exported have different names', () => {
  const files = ['tunnel-box', 'tunnel-box-2'].map((name) => ({ name }));
  assert.is(freeName('tunnel-box', files), 'tunnel-box-3');
  assert.is(freeName('tunnel-other', files), 'tunnel-other');
});

test.run();
