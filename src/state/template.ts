import { createRequire } from 'node:module';
import type HandlebarsModule from 'handlebars';
import {
  escapeBind,
  escapeDescription,
  escapePath,
  escapeWord,
  plainValue,
  quoteArgument,
  quoteProgram,
} from '../units/escape.js';
import type { Template } from '../units/render.js';

const require = createRequire(import.meta.url);

/** How a template says what a value is: a helper a kind of setting. */
const helpers: Record<string, (value: string) => string> = {
  argument: quoteArgument,
  bind: escapeBind,
  description: escapeDescription,
  path: escapePath,
  plain: plainValue,
  program: quoteProgram,
  word: escapeWord,
};

/**
 * Compiles the Handlebars source of a unit (templates/*.hbs). Each value in it goes through one of the {@link helpers}.
 */
export function compileTemplate(source: string): Template {
  // Loading it takes a fifth of the start of a program of which most runs render nothing.
  const { create } = require('handlebars') as typeof HandlebarsModule;
  const handlebars = create();
  for (const [name, escaped] of Object.entries(helpers)) {
    handlebars.registerHelper(name, (value: unknown) => {
      if (typeof value === 'string' || typeof value === 'number') return escaped(String(value));
      throw new Error(`a template has no value for a ${name}`);
    });
  }
  return handlebars.compile(source, { noEscape: true, strict: true });
}
