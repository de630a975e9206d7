import { readDuration } from '../recipe/duration.js';
import type { CreateOptions } from './plan.js';

/*
 * The values of the options of `wormhole create`, which files have too. Each function throws an Error that says what is expected.
 */

/** A span of time, in seconds. */
export function readSpan(text: string): number {
  const seconds = readDuration(text);
  if (seconds === undefined) throw new Error('expected a span of time, such as 30s, 5m or 1h');
  return seconds;
}

/** Who may use a head with a path, in octal digits. */
export function readMode(text: string): string {
  if (/^0?[0-7]{3}$/.test(text)) return text;
  throw new Error('expected three octal digits, such as 660');
}

/** Whom a head with a path belongs to. */
export function readOwner(text: string): string {
  if (/^(?=.)([A-Za-z0-9_][A-Za-z0-9_.-]*)?(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/.test(text)) return text;
  throw new Error('expected USER, USER:GROUP or :GROUP, such as :docker');
}

/** A group of the forwarder. */
export function readGroup(text: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(text)) return text;
  throw new Error('expected a group, such as docker');
}

/** When images are fetched. */
export function readPull(text: string): CreateOptions['pull'] {
  const found = (['never', 'missing', 'always'] as const).find((policy) => policy === text);
  if (found === undefined) throw new Error('expected never, missing or always');
  return found;
}
