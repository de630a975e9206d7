import { RecipeError } from '../recipe/error.js';
import { laterFeature } from '../recipe/later.js';
import type { Link } from '../recipe/link.js';
import { parseRecipe } from '../recipe/parse.js';

/**
 * Reads the words of a recipe that is to be created.
 *
 * @throws RecipeError when they are no recipe, or one that this version can read but not create
 */
export function readRecipe(words: string[]): Link {
  const recipe = parseRecipe(words);
  const later = laterFeature(recipe);
  if (later !== undefined) throw new RecipeError(`this version cannot create "${later}" yet`);
  return recipe;
}
