import type { Link } from '../recipe/link.js';
import { runUnit, serviceUnit } from './names.js';
import { nameRuns } from './runs.js';

/**
 * How a link is to be created, beside its recipe.
 *
 * `startTimeout` is the seconds that what a connection starts may take until it accepts one. `pull` says when the image
 * of a container is fetched, as docker run's option of that name does.
 */
export interface CreateOptions {
  startTimeout: number;
  pull: 'never' | 'missing' | 'always';
}

/** What is meant when nothing is said. */
export const DEFAULT_OPTIONS: CreateOptions = { startTimeout: 60, pull: 'missing' };

/**
 * What a link has on another machine. `key` is random, and what that machine knows its part by: with it, the part can be
 * asked for again and again, and be taken away. `keyFile` holds the key that both machines share.
 */
export interface FarPart {
  key: string;
  keyFile: string;
}

/**
 * The link of another machine that this one is the far part of: the `key` of its {@link FarPart}, its id, the name of its
 * machine, and the address of that machine, which alone may connect. `tunnel` is the id of the tunnel that it comes through.
 */
export interface Owner {
  key: string;
  id: string;
  machine: string;
  address: string;
  tunnel?: string;
}

/** What ties a link, with all its children, to other machines. */
export interface Ties {
  far?: FarPart;
  owner?: Owner;
}

/**
 * A link that has an id and a head with a port, and so can be written as units.
 *
 * `parent` is the id of the link that it hangs on, `root` that of the one which was created, and whose socket holds the
 * recipe of all. `openedBy` is the unit that opens it on a connection; without one it is open from boot on. `far` is that
 * of the whole recipe, which has one at the most; `owner` has only the one that was created.
 */
export interface NamedLink extends Ties {
  id: string;
  parent?: string;
  root: string;
  openedBy?: string;
  link: Link;
  options: CreateOptions;
}

/** A link with ids and, one after the other, the children that it has on this machine, the parent first. */
export function flatten(link: Link, options: CreateOptions, { far, owner }: Ties = {}): NamedLink[] {
  if (link.id === undefined) throw new Error('a link without an id has no units');
  const all: NamedLink[] = [];
  let next: Omit<NamedLink, 'id' | 'root' | 'options'> | undefined = { link: nameRuns(link) };
  while (next) {
    const named: NamedLink = { ...next, id: next.link.id as string, root: link.id, options };
    if (owner && all.length === 0) named.owner = owner;
    if (far) named.far = far;
    all.push(named);
    next = childOf(named);
  }
  return all;
}

function childOf({ id, openedBy, link }: NamedLink): Omit<NamedLink, 'id' | 'root' | 'options'> | undefined {
  const { child, tail, trigger } = link;
  if (!child || child.peer !== undefined) return undefined;
  const opener = trigger ? (startsContainer(link) ? runUnit(id) : serviceUnit(id)) : undefined;
  const inOwnContainer = tail?.place.kind === 'run' && child.kinship === 'child' ? runUnit(id) : undefined;
  const opened = opener ?? inOwnContainer ?? openedBy;
  return { parent: id, link: child.link, ...(opened === undefined ? {} : { openedBy: opened }) };
}

/** Says whether the tail is a container that a connection, or the creation, starts. */
function startsContainer({ tail, trigger }: Link): boolean {
  return tail?.place.kind === 'run' || (trigger && tail?.place.kind === 'container');
}

/** Says whether all of a recipe up to its far part is carried out at creation, and not by the first connection. */
export function isEager(link: Link): boolean {
  return (
    !link.trigger && (link.child === undefined || link.child.peer !== undefined || isEager(link.child.link))
  );
}
