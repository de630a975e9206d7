// npm run build: node --import tsx build/main.ts [DIRECTORY]
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from './build.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
await build(root, process.argv[2] ?? join(root, 'dist'));
