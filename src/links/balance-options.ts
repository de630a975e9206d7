import { RecipeError } from '../recipe/error.js';
import { isUnix, type Recipe, splitEnd } from '../recipe/recipe.js';
import type { CreateOptions } from '../units/plan.js';

/** Makes sure that the options about several tails have something to apply to: without that, nobody would check, and nothing would say so. @throws RecipeError */
export function checkBalanceOptions({ head, tails }: Recipe, { balance, check }: CreateOptions): void {
  const option = balance === undefined ? check && '--check' : `--balance "${balance}"`;
  if (!tails && option)
    throw new RecipeError(
      `${option} is for a link with several tails, and this one has one: or begins another one`,
    );
  const unix = splitEnd(head).find(isUnix);
  if (balance === 'source' && unix)
    throw new RecipeError(
      `--balance "source": clients of ${unix.path} have no address: take least, round-robin or first`,
    );
}
