import { parseRunArguments } from '../docker/run-arguments.js';
import { RunArgumentError } from '../docker/run-request.js';
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
  return checkRecipe(parseRecipe(words));
}

/** As {@link readRecipe}, of a recipe that is read already. */
export function checkRecipe(recipe: Link): Link {
  const later = laterFeature(recipe);
  if (later !== undefined) throw new RecipeError(`this version cannot create "${later}" yet`);
  for (let link: Link | undefined = recipe; link; link = link.child?.link) checkRuns(link);
  return recipe;
}

function checkRuns({ head, tail }: Link): void {
  for (const { place } of tail ? [head, tail] : [head]) {
    if (place.kind !== 'run') continue;
    try {
      parseRunArguments(place.args);
    } catch (error) {
      if (error instanceof RunArgumentError) throw new RecipeError(error.message);
      throw error;
    }
  }
}
