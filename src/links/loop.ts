import { isFar, type Recipe, type RecipeEnd } from '../recipe/recipe.js';
import { takes } from '../recipe/self.js';

/** A link with its id. */
export interface NamedLink {
  id: string;
  link: Recipe;
}

/**
 * The ids of the links of this machine that a client of `first` would pass until it is back there, `first` at both ends; undefined
 * when it never is. Only what is certain counts, as in `selfProxy`.
 */
export function findLoop(first: NamedLink, others: NamedLink[]): string[] | undefined {
  const seen = new Set<string>();
  const open: { at: NamedLink; path: string[] }[] = [{ at: first, path: [first.id] }];
  for (let next = open.pop(); next; next = open.pop()) {
    for (const tail of localTails(next.at.link)) {
      if (takes(first.link.head, tail)) return [...next.path, first.id];
      for (const other of others) {
        if (seen.has(other.id) || !takes(other.link.head, tail)) continue;
        seen.add(other.id);
        open.push({ at: other, path: [...next.path, other.id] });
      }
    }
  }
  return undefined;
}

/** Where a link leads to on this machine. */
function localTails({ tail, child, tails = [] }: Recipe): RecipeEnd[] {
  return [{ tail, child }, ...tails].flatMap((one) => {
    if (one.tail) return one.tail;
    return one.child && !isFar(one.child) ? one.child.link.head : [];
  });
}
