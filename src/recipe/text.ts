import { quote, split } from 'shlex';
import { RecipeError } from './error.js';
import { formatRecipe, formatWithMachines } from './format.js';
import { parseRecipe } from './parse.js';
import type { Recipe } from './recipe.js';

/** A recipe as one line of text in its canonical form, quoted so that a shell would read the same words. */
export function recipeText(recipe: Recipe): string {
  return formatRecipe(recipe).map(quoteForShell).join(' ');
}

/** As {@link recipeText}, with the machines of services: what a unit has. */
export function storedRecipeText(recipe: Recipe): string {
  return formatWithMachines(recipe).map(quoteForShell).join(' ');
}

/**
 * Reads a line that `recipeText` wrote, or one that somebody typed with a shell's quotes.
 *
 * @throws RecipeError when a quote is left open, or `parseRecipe` throws it
 */
export function recipeFromText(text: string): Recipe {
  return parseRecipe(wordsOf(text));
}

function wordsOf(text: string): string[] {
  try {
    return split(text);
  } catch {
    throw new RecipeError('the recipe ends inside a quote or after a backslash');
  }
}

/** A word as {@link recipeText} writes it. */
export function quoteForShell(word: string): string {
  // shlex's own quote puts a ' in double quotes, and its split then loses backslashes from the text before.
  return word.includes("'") ? `'${word.replaceAll("'", "'\\''")}'` : quote(word);
}
