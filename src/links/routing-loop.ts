import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isFar, isPath, isUnix, type Recipe, type RecipeEnd, splitEnd } from '../recipe/recipe.js';
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
      if (leadsTo(tail, first.link)) return [...next.path, first.id];
      for (const other of others) {
        if (seen.has(other.id) || !leadsTo(tail, other.link)) continue;
        seen.add(other.id);
        open.push({ at: other, path: [...next.path, other.id] });
      }
    }
  }
  return undefined;
}

/** Whether a tail is the head of a link, also by another path of its unix socket: /var/run is a symbolic link to /run. */
function leadsTo(tail: RecipeEnd, { head }: Recipe): boolean {
  if (takes(head, tail)) return true;
  const targets = realPaths(tail);
  return targets.length > 0 && realPaths(head).some((one) => targets.some((target) => takes(one, target)));
}

function realPaths(end: RecipeEnd): RecipeEnd[] {
  return splitEnd(end).filter(isPath).map(withRealPath);
}

function withRealPath(end: RecipeEnd): RecipeEnd {
  if (!isUnix(end)) return end;
  try {
    return { ...end, path: join(realpathSync(dirname(end.path)), basename(end.path)) };
  } catch {
    // Where there is no directory, nothing listens.
    return end;
  }
}

/** Where a link leads to on this machine. */
function localTails({ tail, child, tails = [] }: Recipe): RecipeEnd[] {
  return [{ tail, child }, ...tails].flatMap((one) => {
    if (one.tail) return one.tail;
    return one.child && !isFar(one.child) ? one.child.link.head : [];
  });
}
