import { portOf } from './defaults.js';
import type { Address, End, Link, LinkTail, LocalChild, Place } from './link.js';
import { runName } from './link.js';
import {
  isFar,
  isUnix,
  type LocalRecipeChild,
  type Recipe,
  type RecipeAddress,
  type RecipeEnd,
  type RecipePlace,
  type RecipeTail,
} from './recipe.js';
import { nameTails, tailId } from './tails.js';

/** A recipe that leaves something to choose where nothing may be left: an id, a host or a port is missing. */
export class IncompleteRecipe extends Error {}

/**
 * The complete link of a recipe that leaves nothing to choose. It names the containers that the link runs; the head of a
 * local child that is in the container of its parent's tail has the name of that one.
 *
 * @returns a new link; the recipe stays as it is
 * @throws IncompleteRecipe
 */
export function asLink(recipe: Recipe, parentTail?: End): Link {
  const { id, idle, trigger, child, tails } = recipe;
  if (id === undefined) throw new IncompleteRecipe('a link lacks its id');
  const link: Link = { id, head: asHead(recipe.head, id, parentTail), trigger };
  if (idle !== undefined) link.idle = idle;
  if (recipe.tail) link.tail = asEnd(recipe.tail, runName(id, 'tail'));
  if (child) link.child = isFar(child) ? child : asLocalChild(child, link.tail);
  if (tails) {
    const names = nameTails(tails);
    const port = portOf(recipe.head);
    link.tails = tails.map((tail, index) => asLinkTail(withPort(tail, port), id, names[index] ?? ''));
  }
  return link;
}

/** A published tail that says no port has that of the head. */
function withPort(tail: RecipeTail, port: number | undefined): RecipeTail {
  const { child } = tail;
  return child?.service === undefined || port === undefined ? tail : { ...tail, child: { ...child, port } };
}

function asLinkTail(
  { tail, trigger, child, weight, leaving }: RecipeTail,
  link: string,
  name: string,
): LinkTail {
  const id = tailId(link, name);
  return {
    id,
    name,
    ...(tail && { tail: asEnd(tail, runName(id, 'tail')) }),
    trigger,
    ...(child && { child }),
    ...(weight !== undefined && { weight }),
    ...(leaving && { leaving }),
  };
}

function asLocalChild({ kind, link }: LocalRecipeChild, parentTail: End | undefined): LocalChild {
  return { kind, link: asLink(link, parentTail) };
}

function asHead(end: RecipeEnd, id: string, parentTail: End | undefined): End {
  const head = asEnd(end, runName(id, 'head'));
  const shared = parentTail?.place;
  const isShared = shared?.kind === 'run' && head.place.kind === 'run' && shared.args === head.place.args;
  return isShared ? { ...head, place: shared } : head;
}

function asEnd(end: RecipeEnd, run: string): End {
  const done: End = { ...asAddress(end), place: asPlace(end.place, run) };
  if (end.also) done.also = end.also.map(asAddress);
  return done;
}

function asAddress(address: RecipeAddress): Address {
  if (isUnix(address)) return { protocol: address.protocol, path: address.path };
  const { protocol, host, port } = address;
  if (host === undefined) throw new IncompleteRecipe('an end lacks its host');
  if (port === undefined) throw new IncompleteRecipe('an end lacks its port');
  return { protocol, host, port };
}

function asPlace(place: RecipePlace, run: string): Place {
  return place.kind === 'run' ? { ...place, name: run } : place;
}
