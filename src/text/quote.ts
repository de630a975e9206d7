import { escapeUnprintable } from './printable.js';

/** A text in double quotes, with whatever would break the line or hide itself on a terminal written as `\uXXXX`. */
export function quoted(text: string): string {
  return escapeUnprintable(JSON.stringify(text));
}

/** A value as indented JSON, with whatever would act on a terminal written as `\uXXXX`. */
export function printableJson(value: unknown): string {
  return escapeUnprintable(JSON.stringify(value, null, 2), '\n');
}
