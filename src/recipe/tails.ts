import { RESERVED_ENDINGS } from './names.js';
import { isUnix, type RecipeEnd, type RecipeTail } from './recipe.js';

/** The largest weight of a tail. */
export const MOST_WEIGHT = 256;

/** Longer names are cut: the name of a unit has at most 255 characters, with the id of the link. */
const LONGEST_NAME = 60;

/**
 * The names of the tails of a link, by which its units and `wormhole drain` know them: that of the container, netns, service or
 * machine, or the address. Equal ones get `-2`, `-3`, … in the order of the recipe.
 */
export function nameTails(tails: RecipeTail[]): string[] {
  const names: string[] = [];
  for (const tail of tails) {
    const base = nameOf(tail);
    let name = base;
    for (let n = 2; names.includes(name); n++) name = `${base}-${n}`;
    names.push(name);
  }
  return names;
}

/** The id of the part of a link that has one of its tails. */
export function tailId(link: string, name: string): string {
  return `${link}-to-${name}`;
}

function nameOf({ tail, child }: RecipeTail): string {
  const name = (tail === undefined ? (child?.peer ?? '') : nameOfEnd(tail))
    .replace(/[^A-Za-z0-9_.-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, LONGEST_NAME);
  if (name === '') return 'tail';
  return RESERVED_ENDINGS.some((ending) => `-${name}`.endsWith(ending)) ? `${name}-1` : name;
}

function nameOfEnd(end: RecipeEnd): string {
  const { place } = end;
  if (place.kind === 'container' || place.kind === 'netns') return place.name;
  if (place.kind === 'host' && place.unit !== undefined) return place.unit.replace(/\.service$/, '');
  // What docker-run is given may be secret, but not a name of the container.
  if (place.kind === 'run') return place.request.name ?? 'container';
  return isUnix(end) ? (end.path.split('/').at(-1) ?? '') : `${end.host}-${end.port ?? ''}`;
}
