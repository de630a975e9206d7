import { isUnix, type Recipe, splitEnd } from '../recipe/recipe.js';
import type { CreateOptions } from '../units/plan.js';

/** An option is for a link with several tails, or for another head. */
export class BalanceRefused extends Error {}

/** Makes sure that the options about several tails have something to apply to. @throws BalanceRefused */
export function checkBalanceOptions({ head, tails }: Recipe, { balance, check }: CreateOptions): void {
  const option = balance === undefined ? check && '--check' : `--balance "${balance}"`;
  if (!tails && option)
    throw new BalanceRefused(`${option} is for a link with several tails: or begins another one`);
  const unix = splitEnd(head).find(isUnix);
  if (balance === 'source' && unix)
    throw new BalanceRefused(
      `--balance "source": clients of ${unix.path} have no address: take least, round-robin or first`,
    );
}
