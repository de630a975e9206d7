import { hasHostName } from './host-name.js';
import { ipAddressOf, ipProtocolsFor } from './protocols.js';
import { type IpProtocol, type RecipeEnd, type RecipeIpAddress, splitEnd } from './recipe.js';

/** What an end without a host listens on or connects to. */
export const LOOPBACK = '127.0.0.1';

/** The head of a recipe before any word: tcp, 127.0.0.1 of the machine itself, at a port yet to be chosen. */
export function firstHead(): RecipeEnd {
  return { protocol: 'tcp', place: { kind: 'host' }, host: LOOPBACK };
}

/** A tail before any word about it: `port` of 127.0.0.1 of the machine itself, by the protocols that its head needs. */
export function defaultTail(head: RecipeEnd, port: number | undefined): RecipeEnd {
  return ipEnd(ipProtocolsFor(splitEnd(head)), { host: LOOPBACK, ...(port !== undefined && { port }) });
}

/** The head of a local child before any word: the tail of its parent, at the loopback address if that has a name. */
export function localHead(tail: RecipeEnd): RecipeEnd {
  const head = structuredClone(tail);
  // The service is the tail's: what listens here is the child.
  if (head.place.kind === 'host') head.place = { kind: 'host' };
  for (const address of [head, ...(head.also ?? [])]) if (hasHostName(address)) address.host = LOOPBACK;
  return head;
}

/** The head of a far child before any word: as its parent needs it, at an address and port the far machine chooses. */
export function farHead(head: RecipeEnd): RecipeEnd {
  return ipEnd(ipProtocolsFor(splitEnd(head)), {});
}

/** The port of a head; undefined when it has none, or none yet. */
export function portOf(head: RecipeEnd): number | undefined {
  return ipAddressOf(splitEnd(head))?.port;
}

/** An end at one address of this host by each of the protocols, or by tcp. */
function ipEnd(protocols: IpProtocol[], address: Omit<RecipeIpAddress, 'protocol'>): RecipeEnd {
  const [protocol = 'tcp', ...others] = protocols;
  const end: RecipeEnd = { protocol, place: { kind: 'host' }, ...address };
  if (others.length > 0) end.also = others.map((other) => ({ protocol: other, ...address }));
  return end;
}
