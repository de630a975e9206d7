import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asLink } from '../../src/recipe/as-link.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { DEFAULT_OPTIONS, isEager, planLink } from '../../src/units/plan.ts';

const test = suite('the plan of a link');

const recipe = (text: string) => parseRecipe(text.split(' '));

/* A part on another machine is created together with the link, or by the first connection: then nothing may ask for it before. */
for (const [text, expected] of [
  ['url :1 tail url :2', true],
  ['url :1 trigger docker-ns x', false],
  ['url :1 remote m tail', true],
  ['url :1 remote m trigger docker-ns x', true],
  ['url :1 trigger remote m tail', false],
  ['url :1 chain url :2 remote m tail', true],
  ['url :1 chain url :2 trigger remote m tail', false],
  ['url :1 trigger chain url :2 remote m tail', false],
  ['url :1 tail docker-ns x child url :2 remote m tail', true],
  ['url :1 tail docker-ns x child url :2 trigger remote m tail', false],
  ['url :1 trigger docker-ns x child url :2 remote m tail', false],
  ['url :1 chain url :2 chain url :3 trigger remote m tail', false],
  ['url :1 chain url :2 chain url :3 remote m tail', true],
] as const)
  test(`${text}: ${expected ? 'at once' : 'by the first connection'}`, () => {
    assert.is(isEager(recipe(text)), expected);
  });

test('the parent comes first, and each child knows it, the root and what opens it', () => {
  const text = 'id a url :1 trigger docker-ns x child id b url :2 chain id c url :3 tail url :4';
  const far = { partId: 'f'.repeat(32), keyFile: '/key' };
  const parts = planLink({ link: asLink(recipe(text)), options: DEFAULT_OPTIONS, far, creator: 'me' });
  assert.equal(
    parts.map(({ link, options, ...rest }) => rest),
    [
      { id: 'a', root: 'a', far, creator: 'me' },
      { id: 'b', root: 'a', far, parent: 'a', openedBy: 'wormhole-a-run.service' },
      { id: 'c', root: 'a', far, parent: 'b', openedBy: 'wormhole-a-run.service' },
    ],
  );
});

test.run();
