import { type End, type Link, tailOf } from './link.js';

/**
 * The first of the links of a recipe (outermost first) whose tail is a head that leads to it, its own or that of a
 * link before it: whoever connects there would go round in circles. Undefined when there is none.
 *
 * Only what is certain counts. A head on a wildcard address takes what is sent to a loopback address of its place;
 * whether another address is this machine's cannot be known from the recipe.
 */
export function selfProxy(links: Link[]): Link | undefined {
  let leading: End[] = [];
  for (const link of links) {
    const tail = tailOf(link);
    leading.push(link.head);
    if (leading.some((head) => takes(head, tail))) return link;
    if (!leadsToChild(link, tail)) leading = [];
  }
  return undefined;
}

function leadsToChild(link: Link, tail: End): boolean {
  if (link.child?.kinship === 'chain') return true;
  return link.child?.kinship === 'child' && takes(link.child.link.head, tail);
}

/** Whether a connection to `tail` arrives at `head`. */
function takes(head: End, tail: End): boolean {
  if (head.host === undefined || tail.host === undefined) return false;
  if (head.protocol !== tail.protocol || head.port !== tail.port || !samePlace(head, tail)) return false;
  return listensOn(head.host, destination(tail.host));
}

function samePlace({ place: one }: End, { place: other }: End): boolean {
  if (one.kind === 'host') return other.kind === 'host';
  // Each docker-run is a container of its own, even with the same arguments.
  if (one.kind === 'run' || other.kind !== one.kind) return false;
  return one.name === other.name;
}

function listensOn(host: string, address: string): boolean {
  if (host === '0.0.0.0') return address.startsWith('127.');
  // A socket on :: takes IPv4 as well.
  if (host === '::') return address.startsWith('127.') || address === '::1';
  return unmapped(host) === address;
}

/** Where a connection to an address goes: one to a wildcard address goes to the loopback. */
function destination(host: string): string {
  if (host === '::') return '::1';
  const address = unmapped(host);
  return address === '0.0.0.0' ? '127.0.0.1' : address;
}

function unmapped(host: string): string {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice('::ffff:'.length) : host;
}
