import { parseRunArguments } from '../docker-run/arguments.js';
import { RunArgumentError } from '../docker-run/request.js';
import { RecipeError, type Word } from './error.js';
import type { RecipePlace } from './recipe.js';

/**
 * Reads the argument of `docker-run`: options, image and command of docker run, split as a shell does.
 *
 * @throws RecipeError about the word, which the message does not quote: it may hold secrets
 */
export function parseRun(word: Word): RecipePlace & { kind: 'run' } {
  try {
    return { kind: 'run', args: word.text, request: parseRunArguments(word.text) };
  } catch (error) {
    if (error instanceof RunArgumentError)
      throw new RecipeError(`docker-run (word ${word.position}): ${error.message}`, word);
    throw error;
  }
}
