import { unmapIPv4 } from '../text/ip-address.js';
import { isPath, isUnix, type Recipe, type RecipeEnd, splitEnd, tailOf } from './recipe.js';

/**
 * The first of the links of a recipe (outermost first) whose tail is a head that leads to it, its own or that of a link
 * before it: a client would go round in circles. Undefined when there is none.
 *
 * Only what is certain counts. A head on a wildcard address accepts connections to a loopback address of its place;
 * the recipe alone cannot tell whether another address is this machine's.
 */
export function selfProxy(links: Recipe[]): Recipe | undefined {
  let leading: RecipeEnd[] = [];
  for (const link of links) {
    const tail = tailOf(link);
    leading.push(link.head);
    if (leading.some((head) => takes(head, tail))) return link;
    if (!leadsToChild(link, tail)) leading = [];
  }
  return undefined;
}

function leadsToChild({ child }: Recipe, tail: RecipeEnd): boolean {
  if (child?.kind === 'chain') return true;
  return child?.kind === 'child' && takes(child.link.head, tail);
}

/** Whether a connection to an address of `tail` arrives at one of `head`, as far as that is certain. */
export function takes(head: RecipeEnd, tail: RecipeEnd): boolean {
  return splitEnd(head).some((listener) => splitEnd(tail).some((target) => takesAt(listener, target)));
}

function takesAt(head: RecipeEnd, tail: RecipeEnd): boolean {
  if (isUnix(head) || isUnix(tail)) {
    // Two sockets of different protocols cannot have one path, and can have one abstract name.
    if (!isUnix(head) || !isUnix(tail) || head.path !== tail.path) return false;
    return isPath(head) || (head.protocol === tail.protocol && samePlace(head, tail));
  }
  if (head.host === undefined || tail.host === undefined) return false;
  if (head.protocol !== tail.protocol || head.port !== tail.port || !samePlace(head, tail)) return false;
  return listensOn(head.host, destination(tail.host));
}

function samePlace({ place: one }: RecipeEnd, { place: other }: RecipeEnd): boolean {
  if (one.kind === 'host') return other.kind === 'host';
  // Each docker-run is a container of its own, even with the same arguments.
  if (one.kind === 'run' || other.kind !== one.kind) return false;
  return one.name === other.name;
}

/** Whether a head at `host` takes connections to `address`, as far as that is certain. */
export function listensOn(host: string, address: string): boolean {
  if (host === '0.0.0.0') return address.startsWith('127.');
  // A socket on :: takes IPv4 as well.
  if (host === '::') return address.startsWith('127.') || address === '::1';
  return unmapIPv4(host) === address;
}

/** Where a connection to an address goes: one to a wildcard address goes to the loopback. */
export function destination(host: string): string {
  if (host === '::') return '::1';
  const address = unmapIPv4(host);
  return address === '0.0.0.0' ? '127.0.0.1' : address;
}
