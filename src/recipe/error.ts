import { quoted } from '../text/quote.js';

/** One word of a recipe. `position` counts from 1, from the first word after `create`. */
export interface Word {
  text: string;
  position: number;
}

/**
 * What is wrong with a recipe. `message` is one line for people.
 *
 * `word` is the word the message is about and `position` its place, counted from 1 after `create`. When something is
 * missing, that is the word it is missing after. A fault of the recipe as a whole, such as an empty one, has the
 * position 0 and the word ''.
 */
export class RecipeError extends Error {
  override readonly name = 'RecipeError';
  readonly word: string;
  readonly position: number;

  constructor(message: string, word: Word = { text: '', position: 0 }) {
    super(message);
    this.word = word.text;
    this.position = word.position;
  }
}

/** The error for a word that is wrong: `word 3, "tial": REASON`. */
export function wrongWord(word: Word, reason: string): RecipeError {
  return new RecipeError(`word ${word.position}, ${quoted(word.text)}: ${reason}`, word);
}

/** The error for something that is missing after a word: `after "url" (word 1): REASON`. */
export function missingAfter(word: Word, reason: string): RecipeError {
  return new RecipeError(`after ${quoted(word.text)} (word ${word.position}): ${reason}`, word);
}
