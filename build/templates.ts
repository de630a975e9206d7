import { readFileSync } from 'node:fs';
import type { Plugin } from 'esbuild';
import Handlebars from 'handlebars';

/** The helpers of src/state/template.ts, which say what kind of value is written. */
const HELPERS = ['argument', 'bind', 'description', 'path', 'plain', 'program', 'word'];

/**
 * Compiles the Handlebars source of a unit to the JavaScript of an object that `Handlebars.template` takes. A name that is
 * no value and none of our helpers makes rendering fail.
 */
export function compileTemplate(source: string): string {
  const options = {
    noEscape: true,
    strict: true,
    knownHelpers: Object.fromEntries(HELPERS.map((name) => [name, true])),
    knownHelpersOnly: true,
  };
  return String(Handlebars.precompile(source, options));
}

/** Lets programs import templates/*.hbs, compiled, so that they need the small runtime of Handlebars only. */
export const compiledTemplates: Plugin = {
  name: 'templates',
  setup({ onLoad }) {
    onLoad({ filter: /\.hbs$/ }, ({ path }) => ({
      contents: `export default ${compileTemplate(readFileSync(path, 'utf8'))};`,
    }));
  },
};
