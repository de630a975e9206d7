import Handlebars from 'handlebars/runtime.js';
import { escapeSpecifiers, quoteArgument } from '../units/escape.js';
import type { Template } from '../units/render.js';

/** A template of a unit, compiled at build time. */
export type CompiledTemplate = Parameters<typeof Handlebars.template>[0];

/**
 * Makes a compiled template render. Its helpers are `specifiers` for what is to stand for itself where systemd replaces
 * specifiers, and `argument` for a word of a command line.
 */
export function template(compiled: CompiledTemplate): Template {
  const helpers = { specifiers: escapeSpecifiers, argument: quoteArgument };
  const render = Handlebars.template(compiled);
  return (values) => render(values, { helpers });
}
