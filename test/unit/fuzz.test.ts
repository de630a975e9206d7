import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { targets } from '../fuzz/targets.ts';

const failed = join(import.meta.dirname, '../fuzz/failed');

for (const [name, target] of Object.entries(targets)) {
  test(`${name}: the examples, and inputs that have failed once, are read as promised`, () => {
    for (const example of target.examples) target.run(Buffer.from(example, 'latin1'));
    const directory = join(failed, name);
    for (const file of existsSync(directory) ? readdirSync(directory) : [])
      target.run(readFileSync(join(directory, file)));
  });
}

test.run();
