import type { RunRequest } from '../docker-run/request.js';

/** The protocols of sockets that have an IP address and a port. */
export type IpProtocol = 'tcp' | 'udp';

/**
 * The protocols of unix sockets, as Go's package net calls them: `unix` is a stream, `unixgram` carries datagrams, and
 * `unixpacket` is a connection that keeps the boundaries of messages (SOCK_SEQPACKET, unix(7)).
 */
export type UnixProtocol = 'unix' | 'unixgram' | 'unixpacket';

/** The protocols that a link can carry. */
export type Protocol = IpProtocol | UnixProtocol;

/**
 * The network namespace in which an end lives.
 *
 * - `host`: that of the machine itself. Only a tail has a `unit`: a service of systemd's that serves it, and that the link starts.
 * - `netns`: one that `ip netns add NAME` made, at `/run/netns/NAME` (ip-netns(8)).
 * - `container`: that of the container with this name.
 * - `run`: that of a container which the link itself starts; `args` is the text after `docker-run`, `request` what it asks
 *   for. Each is a container of its own, except for the head of a local child with the place of its parent's tail: that is
 *   the parent's container.
 */
export type RecipePlace =
  | { kind: 'host'; unit?: string }
  | { kind: 'netns'; name: string }
  | { kind: 'container'; name: string }
  | { kind: 'run'; args: string; request: RunRequest };

/**
 * An IP address and port as a recipe describes them. `host` is an IPv4 or IPv6 address in canonical text, without brackets; of a
 * tail, it may be a DNS name in small letters.
 * Only the head of a far child may lack it: the far machine then uses its address that faces us. The missing `port` of a head
 * is chosen when the link is created. The missing port of a tail is that of its head, or for a far child that of the link
 * which asks for it.
 */
export interface RecipeIpAddress {
  protocol: IpProtocol;
  host?: string;
  port?: number;
}

/** The address of a unix socket: an absolute path, or `@` and a name in the abstract namespace (unix(7)). */
export interface UnixAddress {
  protocol: UnixProtocol;
  path: string;
}

/** Where a socket is, as a recipe describes it. */
export type RecipeAddress = RecipeIpAddress | UnixAddress;

/**
 * One end of a link as the recipe describes it: where it listens (head) or where it connects to (tail).
 *
 * `also` has the further addresses of a head, each with a protocol of its own; never an empty list. A tail has them where it
 * names no protocol, and the listeners of its head need both tcp and udp. They have its host and port then.
 */
export type RecipeEnd = RecipeAddress & { place: RecipePlace; also?: RecipeAddress[] };

/** A second link on the same machine. The head of a `chain` is the tail of the first link, that of a `child` is not. */
export interface LocalRecipeChild {
  kind: 'child' | 'chain';
  link: Recipe;
}

/**
 * A second link on the machine `peer`, whose head is the tail of the first link. With `service`, that machine publishes the rest under
 * this name, and `link` has its head alone; until the machines of the service are looked up, `peer` is `service:NAME`. `port` is
 * the one that a published tail has if it says none; only complete links have it.
 */
export interface FarChild {
  kind: 'remote' | 'tunnel' | 'udptunnel';
  peer: string;
  link: Recipe;
  service?: string;
  port?: number;
}

/** A second link that is created together with the first. */
export type RecipeChild = LocalRecipeChild | FarChild;

/**
 * A link as the recipe describes it.
 *
 * `tail` is absent exactly when the tail is the head of the child (every kind of child but `child`).
 * `idle` is the seconds without a connection after which the forwarder ends, and with it what it has started.
 * `trigger` says that the tail's part of the recipe is carried out when the first client connects. A link with several tails has
 * them in `tails`, at least two, and then neither `tail` nor `child`, and `trigger` is false. They may be fewer if they are the machines of a service.
 */
export interface Recipe {
  id?: string;
  idle?: number;
  head: RecipeEnd;
  tail?: RecipeEnd;
  trigger: boolean;
  child?: RecipeChild;
  tails?: RecipeTail[];
}

/**
 * One of several tails of a link. `weight` is its share compared with others, 1 if it is not said. One that is `leaving` is a machine
 * which the service has no more: it gets no new client, and goes with its last session.
 */
export interface RecipeTail {
  tail?: RecipeEnd;
  trigger: boolean;
  child?: FarChild;
  weight?: number;
  leaving?: true;
}

/** Whether a child is created on another machine. */
export function isFar(child: { kind: RecipeChild['kind'] }): child is FarChild {
  return child.kind !== 'child' && child.kind !== 'chain';
}

/** Where a link connects to: its own tail, or the head of the child that stands in for it. */
export function tailOf({ tail, child }: Recipe | RecipeTail): RecipeEnd {
  const end = tail ?? child?.link.head;
  if (end === undefined) throw new Error('a link has neither a tail nor a child');
  return end;
}

/** The addresses of an end, each as an end that has no other. */
export function splitEnd({ also = [], ...first }: RecipeEnd): RecipeEnd[] {
  return [first, ...also.map((address) => ({ ...address, place: first.place }))];
}

/** Whether an address is that of a unix socket. */
export function isUnix<A extends { protocol: Protocol }>(address: A): address is A & UnixAddress {
  return address.protocol !== 'tcp' && address.protocol !== 'udp';
}

/** Whether an address is a path in the file system. */
export function isPath(address: RecipeAddress): boolean {
  return isUnix(address) && address.path.startsWith('/');
}

/** An end whose IP addresses have this host and port where they lack one. */
export function fillIn(end: RecipeEnd, missing: Omit<RecipeIpAddress, 'protocol'>): RecipeEnd {
  const fill = <A extends RecipeAddress>(address: A): A =>
    isUnix(address) ? address : { ...missing, ...address };
  const done = fill(end);
  if (end.also) done.also = end.also.map(fill);
  return done;
}
