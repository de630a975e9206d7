/** The protocols a link can carry. */
export type Protocol = 'tcp' | 'udp';

/**
 * The network namespace an end lives in.
 *
 * - `host`: the namespace of the machine itself.
 * - `netns`: a namespace that `ip netns add NAME` made, at `/run/netns/NAME` (ip-netns(8)).
 * - `container`: the namespace of the container with that name.
 * - `run`: the namespace of a container that the link itself starts; `args` is what stood after `docker-run`, `name` what
 *   tells it from all others once the link has an id.
 *   Each is a container of its own, but for the head of a local child with the place of its parent's tail: that is the
 *   parent's container.
 */
export type Place =
  | { kind: 'host' }
  | { kind: 'netns'; name: string }
  | { kind: 'container'; name: string }
  | { kind: 'run'; args: string; name?: string };

/**
 * One end of a link: where it listens (head) or connects to (tail).
 *
 * `host` is an IPv4 or IPv6 address in canonical text, without brackets. Only the head of a far child may lack it: the
 * far machine then takes its address that faces us. A head's missing `port` is chosen when the link is created; a tail's
 * is then the one that its head's was chosen to be, or for a far child that of the link which asks for it.
 */
export interface End {
  protocol: Protocol;
  place: Place;
  host?: string;
  port?: number;
}

/** How a second link hangs on the first: see the recipe language. The last three are created on another machine. */
export type Kinship = 'child' | 'chain' | 'remote' | 'tunnel' | 'udptunnel';

/** A second link that is created from inside the first. `peer` is the machine of a far one, absent for a local one. */
export interface Child {
  kinship: Kinship;
  peer?: string;
  link: Link;
}

/**
 * One wormhole, as the recipe describes it.
 *
 * `tail` is absent exactly when the tail is the head of the child (every kinship but `child`).
 * `idle` is the seconds without a connection after which the forwarder ends, and with it what it had started.
 * `trigger` says that the tail's part of the recipe is carried out when the first client connects.
 */
export interface Link {
  id?: string;
  idle?: number;
  head: End;
  tail?: End;
  trigger: boolean;
  child?: Child;
}

/** The link of a recipe whose child is on another machine; every recipe has one at the most. Undefined without one. */
export function farthest(link: Link): (Link & { child: Child & { peer: string } }) | undefined {
  const { child } = link;
  if (child === undefined) return undefined;
  const { peer } = child;
  return peer === undefined ? farthest(child.link) : { ...link, child: { ...child, peer } };
}

/**
 * Where a link connects to: its own tail, or the head of the child that stands in for it.
 *
 * Throws an Error for a link with neither, which no recipe describes.
 */
export function tailOf(link: Link): End {
  const tail = link.tail ?? link.child?.link.head;
  if (tail === undefined) throw new Error('a link has neither a tail nor a child');
  return tail;
}
