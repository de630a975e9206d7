import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const root = join(import.meta.dirname, '../..');

test('each promise of the README names tests that exist', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const [, table = ''] = readme.split('| promise | how it is tested | test |\n| --- | --- | --- |\n');
  const rows = (table.split('\n\n')[0] ?? '').split('\n');
  assert.ok(rows.length >= 11, `${rows.length} promises`);
  for (const row of rows) {
    const names = [...(row.split('|')[3] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name);
    assert.ok(names.length > 0, row);
    for (const name of names) {
      const places = ['lab', 'ipsec', 'unit'].map((layer) => join(root, 'test', layer, `${name}.test.ts`));
      assert.ok(places.some(existsSync), `${name} in ${row}`);
    }
  }
});

test.run();
