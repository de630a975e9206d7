import { escapeUnprintable } from './printable.js';

/** The most of a text that a message quotes, characters. What somebody else has written may be of any length. */
const MOST_QUOTED = 200;

/**
 * The beginning of a text in double quotes, for a message, with whatever would break the line or hide itself on a terminal written as
 * `\uXXXX`. An ellipsis stands for the rest of a long one.
 */
export function quoted(text: string): string {
  const short = text.length > MOST_QUOTED ? `${text.slice(0, MOST_QUOTED)}…` : text;
  return escapeUnprintable(JSON.stringify(short));
}

/** A value as indented JSON, with whatever would act on a terminal written as `\uXXXX`. */
export function printableJson(value: unknown): string {
  return escapeUnprintable(JSON.stringify(value, null, 2), '\n');
}
