import Handlebars from 'handlebars/runtime.js';
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

/** A template of a unit, compiled at build time. */
export type CompiledTemplate = Parameters<typeof Handlebars.template>[0];

/** How a template says what a value is: a helper a kind of setting. */
const ESCAPES: Record<string, (value: string) => string> = {
  argument: quoteArgument,
  bind: escapeBind,
  description: escapeDescription,
  path: escapePath,
  plain: plainValue,
  program: quoteProgram,
  word: escapeWord,
};

const helpers = Object.fromEntries(
  Object.entries(ESCAPES).map(([name, escaped]) => [
    name,
    (value: unknown) => {
      if (typeof value === 'string' || typeof value === 'number') return escaped(String(value));
      throw new Error(`a template has no value for a ${name}`);
    },
  ]),
);

/**
 * Makes a compiled template render. Each value in it goes through one of the {@link ESCAPES}.
 */
export function template(compiled: CompiledTemplate): Template {
  const render = Handlebars.template(compiled);
  return (values) => render(values, { helpers });
}
