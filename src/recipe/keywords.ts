import { closest, distance } from 'fastest-levenshtein';

/** Every word of the recipe language that is not an argument. */
export const KEYWORDS = [
  'url',
  'docker-ns',
  'docker-run',
  'tail',
  'trigger',
  'child',
  'chain',
  'remote',
  'tunnel',
  'udptunnel',
  'id',
  'idle',
  'or',
  'weight',
  'unit',
] as const;

/** Those that a slip of the pen is likely to be meant for: any word of three letters with an o or r in it is near to "or". */
const LONGER_KEYWORDS = KEYWORDS.filter((keyword) => keyword !== 'or');

/** One word of {@link KEYWORDS}. */
export type Keyword = (typeof KEYWORDS)[number];

/** Whether a text is a word of the language. Such a text is never taken for an argument. */
export function isKeyword(text: string): text is Keyword {
  return (KEYWORDS as readonly string[]).includes(text);
}

/**
 * Whether a word of a recipe is what docker-run is given, or would be if that were in quotes. It may be secret, so no message and
 * no journal has it.
 *
 * @param at its place in `words`, from 0
 */
export function isRunArgument(words: string[], at: number): boolean {
  if (isKeyword(words[at] ?? '') && words[at - 1] !== 'docker-run') return false;
  return words.slice(0, at).findLast(isKeyword) === 'docker-run';
}

/**
 * What someone probably meant who wrote `text` where a keyword belongs: the nearest keyword if it is at most two
 * edits away or begins with `text`, `url :80` for a bare `:80`, undefined when nothing is near.
 */
export function suggestion(text: string): string | undefined {
  if (/:[0-9]+$/.test(text)) return `url ${text}`;
  const lower = text.toLowerCase();
  // Two edits turn any two letters into "id": a word that shares nothing with the keyword is no slip of the pen.
  const near = closest(lower, LONGER_KEYWORDS);
  const edits = distance(lower, near);
  if (edits <= 2 && edits < lower.length) return near;
  return lower.length >= 2 ? KEYWORDS.find((keyword) => keyword.startsWith(lower)) : undefined;
}
