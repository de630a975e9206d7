import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asLink } from '../../src/recipe/as-link.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { addDigest, changeUnit, isEdited } from '../../src/units/digest.ts';
import { DEFAULT_OPTIONS, planLink } from '../../src/units/plan.ts';
import { renderLink } from '../../src/units/render.ts';
import { planUpgrade } from '../../src/units/upgrade.ts';
import { renderer } from './renderer.ts';

const test = suite('what an upgrade does with unit files');

const plain = '[Service]\nExecStart=/bin/true\n';

const rendered = addDigest('[Service]\nExecStart=/bin/false\n');

const upgrade = (current: string | undefined, { isForeign = false, force = false } = {}) =>
  planUpgrade({ current, rendered, isForeign, force });

test('the digest stands in the section of ours, which is added if it is not there', () => {
  assert.match(
    addDigest(plain),
    /^\[Service\]\nExecStart=\/bin\/true\n\n\[X-Wormhole\]\nDigest=[0-9a-f]{64}\n$/,
  );
  const own = `${plain}\n[X-Wormhole]\nId=a\n`;
  assert.match(addDigest(own), /\n\[X-Wormhole\]\nId=a\nDigest=[0-9a-f]{64}\n$/);
});

test('a change of ours renews the digest, and does not hide that somebody has edited the unit', () => {
  const change = (text: string) => text.replace('true', 'false');
  assert.is(changeUnit(addDigest(plain), change), addDigest(change(plain)));
  assert.is(changeUnit(plain, change), change(plain));
  const edited = changeUnit(addDigest(plain).replace('[Service]', '[Service]\nNice=5'), change);
  assert.match(edited, 'Nice=5\nExecStart=/bin/false');
  assert.is(isEdited(edited), true);
});

test('every unit of a link has one', () => {
  const recipe = [
    'url',
    ':1',
    'docker-ns',
    'c',
    'trigger',
    'docker-run',
    'x',
    'child',
    'id',
    'b',
    'url',
    ':2',
    'tail',
    'url',
    ':3',
  ];
  const link = asLink(parseRecipe(['id', 'a', ...recipe]));
  const files = planLink({ link, options: DEFAULT_OPTIONS }).flatMap((part) => renderLink(part, renderer));
  assert.is(files.length, 5);
  for (const { name, text } of files) assert.is(isEdited(text), false, name);
});

test('any change is an edit: before, behind and in the digest', () => {
  const text = addDigest(plain);
  assert.is(isEdited(text), false);
  for (let at = 0; at < text.length; at++) {
    const changed = `${text.slice(0, at)}~${text.slice(at + 1)}`;
    assert.is.not(isEdited(changed), false, JSON.stringify(changed));
  }
  for (const changed of [`${text}# more\n`, `# more\n${text}`, text.trimEnd(), text.replaceAll('\n', '\r\n')])
    assert.is(isEdited(changed), true, JSON.stringify(changed));
  assert.is(isEdited(plain), undefined);
  assert.is(isEdited(''), undefined);
});

test('a unit that was not edited is written, an edited one is left unless it is forced', () => {
  assert.is(upgrade(rendered), 'keep');
  assert.is(upgrade(undefined), 'write');
  assert.is(upgrade(addDigest(plain)), 'write');
  assert.is(upgrade(addDigest(plain), { force: true }), 'write');
  assert.is(upgrade(`${addDigest(plain)}# mine\n`), 'leave');
  assert.is(upgrade(`${addDigest(plain)}# mine\n`, { force: true }), 'replace');
});

test('what an earlier version wrote without a digest is replaced, and a symlink is an edit', () => {
  assert.is(upgrade(plain), 'replace');
  assert.is(upgrade(addDigest(plain), { isForeign: true }), 'leave');
  assert.is(upgrade('', { isForeign: true }), 'leave');
  assert.is(upgrade('', { isForeign: true, force: true }), 'replace');
});

test.run();
