import { hostPort } from '../text/ip-address.js';
import { farChildOf, type Link, localTailOf, type PlaceId } from './link.js';
import { isUnix, type RecipeAddress, type RecipeEnd, type RecipePlace, splitEnd } from './recipe.js';

/**
 * An address without its protocol: `127.0.0.1:3306`, `[::1]:80`, `/run/x.sock`, `@name`. What it lacks is left out: `127.0.0.1`
 * without a port, `:13306` without a host, '' without both. For an end with several addresses, the first.
 */
export function address(of: RecipeAddress): string {
  return isUnix(of) ? of.path : hostPort(of.host ?? '', of.port);
}

/**
 * An end as the recipe's `url` has it: `tcp://127.0.0.1:3306`, `tcp://[::1]:80`, `tcp://blue@127.0.0.1:80` in a
 * named netns, `unix:///run/x.sock`. A container has no place in a url: of an end in one, the url has only protocol and
 * address. For an end with several addresses, the url has the first; see {@link endUrls}.
 */
export function endUrl(end: RecipeEnd): string {
  const netns = end.place.kind === 'netns' ? `${end.place.name}@` : '';
  return `${end.protocol}://${netns}${address(end)}`;
}

/** The urls of all addresses of an end, as {@link endUrl} writes them. */
export function endUrls(end: RecipeEnd): string[] {
  return splitEnd(end).map(endUrl);
}

/** The machine that has the tail of a link, for people: `machine myserver`. */
export function describePeer(peer: string): string {
  return `machine ${peer}`;
}

/** A place for people: `this host`, `netns blue`, `container mysql`, `the container of link 80`. */
export function describePlace(place: RecipePlace | PlaceId): string {
  switch (place.kind) {
    case 'host':
      return 'this host';
    case 'netns':
      return `netns ${place.name}`;
    case 'container':
      return `container ${place.name}`;
    case 'run':
      // What docker-run is given may hold secrets, and this ends up in journals.
      return 'name' in place ? describeRun(place.name) : 'a container of its own';
  }
}

/** The container that a link runs, for people; `name` as in {@link PlaceId}. */
export function describeRun(name: string): string {
  return `the container of link ${name.replace(/-head$/, '')}`;
}

/** Where an end is, for people: `127.0.0.1:3306 in container mysql`, `127.0.0.1:5432 on this host (db.service)`; addresses that differ in protocol only are named once. */
export function describeEnd(end: RecipeEnd): string {
  const addresses = new Set(splitEnd(end).map(address));
  const unit = end.place.kind === 'host' && end.place.unit !== undefined ? ` (${end.place.unit})` : '';
  return `${[...addresses].join(' and ')} ${end.place.kind === 'host' ? 'on' : 'in'} ${describePlace(end.place)}${unit}`;
}

/** Where a link leads to, for people: as {@link describeEnd}, or the machine that has its tail. */
export function describeTail(link: Link): string {
  const tail = localTailOf(link);
  if (tail) return describeEnd(tail);
  if (link.tails) return `one of ${link.tails.map(({ name }) => name).join(', ')}`;
  const far = farChildOf(link);
  if (!far) throw new Error(`link ${link.id} has neither a tail nor a child`);
  return describePeer(far.peer);
}
