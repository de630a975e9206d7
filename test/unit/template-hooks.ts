import { readFileSync } from 'node:fs';
import type { LoadHook } from 'node:module';
import { fileURLToPath } from 'node:url';
import { compileTemplate } from '../../build/templates.ts';

/** Loads templates/*.hbs as the build does, for a program that registers this file; see module.register of Node. */
export const load: LoadHook = (url, context, next) => {
  if (!url.endsWith('.hbs')) return next(url, context);
  const source = `export default ${compileTemplate(readFileSync(fileURLToPath(url), 'utf8'))};`;
  return { format: 'module', source, shortCircuit: true };
};
