// Loaded before a test file, has that get `uvu` from ./uvu.ts.
import { register } from 'node:module';

register('./resolve.ts', import.meta.url);
