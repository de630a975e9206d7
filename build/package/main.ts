// npm run package: node --import tsx build/package/main.ts [--version=VERSION] [DIRECTORY]

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildPackage } from './package.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
try {
  const { values, positionals } = parseArgs({
    options: { version: { type: 'string' } },
    allowPositionals: true,
  });
  if (positionals.length > 1) throw new Error(`one directory at most, and not "${positionals[1]}" too`);
  const out = positionals[0] ?? join(root, 'dist-package');
  console.log(await buildPackage({ root, out, ...values }));
} catch (error) {
  console.error(`npm run package: ${(error as Error).message}`);
  process.exitCode = 1;
}
