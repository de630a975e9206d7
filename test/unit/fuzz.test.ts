import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { targets } from '../fuzz/targets.ts';

const failed = join(import.meta.dirname, '../fuzz/failed');

for (const [name, target] of Object.entries(targets)) {
  test(`${name}: the examples are accepted, and inputs that have failed once are read as promised`, () => {
    assert.ok(target.examples.length > 0);
    for (const example of target.examples)
      assert.ok(target.run(Buffer.from(example, 'latin1')), JSON.stringify(example));
    if (target.refused !== undefined) assert.not(target.run(Buffer.from(target.refused)), target.refused);
    const directory = join(failed, name);
    for (const file of existsSync(directory) ? readdirSync(directory) : [])
      assert.type(target.run(readFileSync(join(directory, file))), 'boolean');
  });
}

test.run();
