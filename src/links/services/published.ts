import { parseFarRecipe } from '../../recipe/parse.js';
import { isUnix, type Recipe } from '../../recipe/recipe.js';
import { readPublished } from '../../state/published.js';
import { withTailPort } from '../remote/far-part.js';

/** This machine publishes no service of that name, or not for a head such as the one of the link. */
export class NotPublished extends Error {}

/**
 * The recipe of this machine's part of a link that leads to a service: as if its machine had asked for what is published here.
 *
 * @param head the words of its head
 * @param service its name, and the port of a published tail that says none
 * @throws NotPublished; RecipeError
 */
export function recipeForConsumer(
  head: string[],
  { name, port }: { name: string; port?: number | undefined },
): Recipe {
  const published = readPublished(name);
  if (!published) throw new NotPublished(`service "${name}" is not published here`);
  const recipe = withTailPort(parseFarRecipe([...head, ...published.words]), port);
  const { tail } = recipe;
  if (tail && !isUnix(tail) && tail.port === undefined)
    throw new NotPublished(
      `service "${name}" is published without a port, and the link has none to use instead: add url :PORT to either`,
    );
  return recipe;
}
