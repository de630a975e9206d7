import { isDeepStrictEqual } from 'node:util';
import { findFarLink } from '../recipe/link.js';
import type { Recipe } from '../recipe/recipe.js';
import { type Links, readLinks } from '../state/links.js';
import { type CreateOptions, type PlannedLink, planLink } from '../units/plan.js';
import { completeLink } from './complete.js';
import { freePort } from './free-port.js';
import { drainedOf, farOfTails, findReplaced, Irreplaceable, withFormerPort, without } from './replace.js';

/** What a link of an id is to be. */
export interface WantedLink {
  recipe: Recipe;
  options: CreateOptions;
}

/**
 * What a link would be if it were changed in place, in view of the other ones: its part on another machine is the one that it has.
 *
 * @param family the link as it is, with its children; [] when there is none
 * @throws Taken
 */
export async function planReplacement(
  { recipe, options }: WantedLink,
  family: PlannedLink[],
  existing: Links,
): Promise<PlannedLink[]> {
  const [root] = family;
  const wanted = root ? { ...recipe, id: root.id } : recipe;
  const link = await completeLink(withFormerPort(wanted, family), {
    existing: without(family, existing),
    choosePort: freePort,
  });
  const far = link.tails
    ? root?.far && farOfTails(family, { link, options, keyFile: root.far.keyFile })
    : findFarLink(link) && root?.far;
  const drained = drainedOf(root, link);
  return planLink({
    link,
    options,
    ...(far && { far }),
    ...(root?.creator !== undefined && { creator: root.creator }),
    ...(drained.length > 0 && { drained }),
  });
}

/** Whether a link is what is wanted, as far as its units tell. What its recipe names need not be there for that. */
export async function isWanted(wanted: WantedLink, family: PlannedLink[], existing: Links): Promise<boolean> {
  const next = await planReplacement(wanted, family, existing).catch(() => undefined);
  return next !== undefined && isDeepStrictEqual(next, family);
}

/**
 * The link that `create --if-absent` finds in the place of the one that it would create; undefined when there is none.
 *
 * @param isResolved whether what the recipe names is looked up. Before that, a link that differs may be the same nevertheless
 * @throws Irreplaceable when that link differs; as findReplaced
 */
export async function findPresent(
  wanted: WantedLink,
  { isResolved }: { isResolved: boolean },
): Promise<PlannedLink | undefined> {
  const existing = readLinks();
  const family = await findReplaced(wanted.recipe, existing);
  const [root] = family ?? [];
  if (!family || !root) return undefined;
  if (await isWanted(wanted, family, existing)) return root;
  if (!isResolved) return undefined;
  throw new Irreplaceable(
    `link "${root.id}" exists, and differs from what is asked for: create --replace changes it, wormhole export ${root.id} prints it`,
  );
}
