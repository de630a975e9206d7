import { RecipeError } from '../recipe/error.js';
import { laterFeature } from '../recipe/later.js';
import { parseFarRecipe, parseRecipe } from '../recipe/parse.js';
import type { Recipe } from '../recipe/recipe.js';

/**
 * Reads the words of a recipe that is to be created.
 *
 * @throws RecipeError when they are no recipe, or one that this version can read but not create
 */
export function readRecipe(words: string[]): Recipe {
  return requireCreatable(parseRecipe(words));
}

/** As {@link readRecipe}, for the far part of another machine's link. */
export function readFarRecipe(words: string[]): Recipe {
  return requireCreatable(parseFarRecipe(words));
}

function requireCreatable(recipe: Recipe): Recipe {
  const later = laterFeature(recipe);
  if (later !== undefined) throw new RecipeError(`this version cannot create "${later}" yet`);
  return recipe;
}
