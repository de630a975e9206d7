import { createRequire } from 'node:module';
import type HandlebarsModule from 'handlebars';
import { escapeSpecifiers, quoteArgument } from '../units/escape.js';
import type { Template } from '../units/render.js';

const require = createRequire(import.meta.url);

/**
 * Compiles the Handlebars source of a unit (templates/*.hbs). Its helpers are `specifiers` for what is to stand for itself
 * where systemd replaces specifiers, and `argument` for a word of a command line.
 */
export function compileTemplate(source: string): Template {
  // Loading it takes a fifth of the start of a program of which most runs render nothing.
  const { create } = require('handlebars') as typeof HandlebarsModule;
  const handlebars = create();
  handlebars.registerHelper('specifiers', escapeSpecifiers);
  handlebars.registerHelper('argument', quoteArgument);
  return handlebars.compile(source, { noEscape: true, strict: true });
}
