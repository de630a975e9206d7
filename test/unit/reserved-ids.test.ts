import { readdirSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { completeLink } from '../../src/links/complete.ts';
import { parseRecipe } from '../../src/recipe/parse.ts';
import { isId } from '../../src/units/names.ts';

const test = suite('reserved ids');
const ours = readdirSync(new URL('../../units', import.meta.url));

test('no link has a unit of the name of one that install.sh installs', () => {
  const ids = ours.flatMap((unit) => /^wormhole-([^@]+)\.[a-z]+$/.exec(unit)?.[1] ?? []);
  assert.ok(ids.includes('tunnel-guard') && ids.includes('tunnel-udp') && ids.includes('sync'), ids.join());
  for (const id of ids) {
    assert.not(isId(id), id);
    assert.throws(() => parseRecipe(['id', id, 'url', ':1', 'tail', 'url', ':2']), /this id is reserved/);
  }
});

test('a part whose machine and id would make such a name gets another one', async () => {
  for (const name of ['tunnel-guard', 'tunnel-udp', 'far', 'sync', 'a-run', 'a-head']) {
    const recipe = parseRecipe(['url', ':1', 'tail', 'url', ':2']);
    const existing = { links: [], unreadable: [] };
    const link = await completeLink(recipe, { existing, choosePort: async () => 61_000, name });
    assert.is(link.id, `${name}-2`);
  }
});

test.run();
