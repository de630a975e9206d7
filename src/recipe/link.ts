import type { RunRequest } from '../docker-run/request.js';
import { hasHostName } from './host-name.js';
import { type FarChild, type IpProtocol, isFar, isUnix, type UnixAddress } from './recipe.js';

/**
 * The network namespace of an end, as in a recipe, with the `unit` that a tail may have there; `name` of one that the link runs distinguishes its container from those
 * of all other links.
 */
export type Place =
  | { kind: 'host'; unit?: string }
  | { kind: 'netns'; name: string }
  | { kind: 'container'; name: string }
  | { kind: 'run'; name: string; args: string; request: RunRequest };

/** What identifies a place on this machine. Every {@link Place} is one. */
export type PlaceId = { kind: 'host'; unit?: string } | { kind: 'netns' | 'container' | 'run'; name: string };

/** A complete IP address and port. */
export interface IpAddress {
  protocol: IpProtocol;
  host: string;
  port: number;
}

/** Where a socket of a complete link is. */
export type Address = IpAddress | UnixAddress;

/** One end of a complete link; `also` as in a recipe. */
export type End = Address & { place: Place; also?: Address[] };

/** A second link on the same machine. */
export interface LocalChild {
  kind: 'child' | 'chain';
  link: Link;
}

/**
 * A complete link: a recipe of which nothing is left to choose, so that it can be written as units. Of a far child the other
 * machine chooses the rest.
 */
export interface Link {
  id: string;
  idle?: number;
  head: End;
  tail?: End;
  trigger: boolean;
  child?: LocalChild | FarChild;
  /** As in a recipe. */
  tails?: LinkTail[];
}

/** One of several tails of a complete link; `id` is that of the part that leads to it, `name` as `wormhole drain` has it; `leaving` as in a recipe. */
export interface LinkTail {
  id: string;
  name: string;
  tail?: End;
  trigger: boolean;
  child?: FarChild;
  weight?: number;
  leaving?: true;
}

/** A complete link that has its tail on another machine. */
export type FarLink = Link & { child: FarChild };

/**
 * The name of the container that a link runs for one of its ends: what distinguishes its units, files and containers from
 * those of all others.
 */
export function runName(id: string, end: 'head' | 'tail'): string {
  return end === 'head' ? `${id}-head` : id;
}

/** The child of a link on the same machine; undefined when it has none, or one on another machine. */
export function localChildOf({ child }: Link): LocalChild | undefined {
  return child === undefined || isFar(child) ? undefined : child;
}

/** The child of a link on another machine; undefined when it has none, or one on the same machine. */
export function farChildOf({ child }: Link): FarChild | undefined {
  return child !== undefined && isFar(child) ? child : undefined;
}

/** Where a link connects to on this machine: its own tail or the head of its local child; undefined for a far tail. */
export function localTailOf(link: Link): End | undefined {
  return link.tail ?? localChildOf(link)?.link.head;
}

/** The tail of a link that has a DNS name, with its place; undefined when it has an address, or is not on this machine. */
export function namedTailOf(link: Link): (IpAddress & { place: Place }) | undefined {
  const tail = localTailOf(link);
  return tail && !isUnix(tail) && hasHostName(tail) ? { ...tail, place: tail.place } : undefined;
}

/** The one of a link and its local children whose tail is on another machine; undefined when none is. */
export function findFarLink(link: Link): FarLink | undefined {
  const child = farChildOf(link);
  if (child) return { ...link, child };
  const local = localChildOf(link);
  return local && findFarLink(local.link);
}

/** The service that a link starts for its tail; undefined when it starts none. */
export function unitOfTail({ tail }: Pick<Link, 'tail'>): string | undefined {
  return tail?.place.kind === 'host' ? tail.place.unit : undefined;
}

/** The addresses of an end. */
export function addressesOf(end: End): Address[] {
  return [end, ...(end.also ?? [])];
}
