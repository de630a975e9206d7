import { isDeepStrictEqual } from 'node:util';
import { farHead, firstHead } from '../../recipe/defaults.js';
import { RecipeError } from '../../recipe/error.js';
import { formatRecipe } from '../../recipe/format.js';
import { parseFarRecipe } from '../../recipe/parse.js';
import { isServiceName } from '../../recipe/services.js';
import { readLinks } from '../../state/links.js';
import { withLock } from '../../state/lock.js';
import {
  isChanging,
  markChanged,
  markChanging,
  publishedNames,
  readPublished,
  removePublished,
  writePublished,
} from '../../state/published.js';
import { quoted } from '../../text/quote.js';
import { DEFAULT_OPTIONS, type PlannedLink } from '../../units/plan.js';
import { prepareRecipe, type ShowProgress } from '../create.js';
import { deleteLinks, NoSuchLink } from '../delete.js';
import { NotPublished } from './published.js';
import { registerSoon } from './register.js';

/**
 * Publishes a recipe under a name: machines that have the key can lead links to it. When the name had another recipe, what
 * other machines have of that is deleted, and created again from this one for their next clients.
 *
 * @param words a recipe from its tail on
 * @returns what could not be deleted, a line each, for people
 * @throws RecipeError; as createLink, for what the recipe names
 */
export async function publishService(name: string, words: string[], show: ShowProgress): Promise<string[]> {
  if (!isServiceName(name))
    throw new RecipeError(
      `${quoted(name)} cannot be the name of a service: letters, digits, "_", "." and "-", as in db`,
    );
  const recipe = parseFarRecipe(words);
  if (recipe.id !== undefined || !isDeepStrictEqual(recipe.head, farHead(firstHead())))
    throw new RecipeError(
      'what is published begins with tail or trigger: each link that leads to it has a head of its own here',
    );
  const options = DEFAULT_OPTIONS;
  const published = { name, words: formatRecipe(await prepareRecipe({ recipe, options }, show)) };
  const isDone = await withLock('published', async () => {
    if (isDeepStrictEqual(readPublished(name), published) && !isChanging(name)) return true;
    // A publish that is killed is not done until the parts that the former recipe has made are deleted.
    markChanging(name);
    writePublished(published);
    return false;
  });
  await registerSoon();
  if (isDone) return [];
  const { left, isComplete } = await deleteParts(name);
  if (isComplete) markChanged(name);
  return left;
}

/**
 * Publishes a service no more, and deletes what other machines have of it here.
 *
 * @returns what could not be deleted, a line each, for people
 * @throws NotPublished
 */
export async function unpublishService(name: string): Promise<string[]> {
  await withLock('published', async () => {
    // One that was killed may have left parts.
    if (!publishedNames().includes(name) && partsOf(name).length === 0)
      throw new NotPublished(`service "${name}" is not published here: see wormhole services`);
    removePublished(name);
  });
  // Consumers go elsewhere before their sessions end.
  await registerSoon();
  return (await deleteParts(name)).left;
}

/** The parts of other machines' links that lead to a service of this one. */
export function partsOf(name: string): PlannedLink[] {
  return readLinks().links.filter(({ owner }) => owner?.service === name);
}

/** Deletes what other machines have of a service. `left` is what could not be deleted, a line each, for people. */
async function deleteParts(name: string): Promise<{ left: string[]; isComplete: boolean }> {
  const ids = partsOf(name).map(({ id }) => id);
  if (ids.length === 0) return { left: [], isComplete: true };
  const deletions = await deleteLinks(ids);
  // The machine that it is for may have deleted it at the same time.
  const failures = deletions.flatMap(({ id, failure }) =>
    failure && !(failure instanceof NoSuchLink) ? [`link "${id}": ${failure.message}`] : [],
  );
  return {
    left: [...deletions.flatMap(({ left }) => left), ...failures],
    isComplete: failures.length === 0,
  };
}
