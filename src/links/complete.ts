import { asLink } from '../recipe/as-link.js';
import { portOf } from '../recipe/defaults.js';
import { address, describePlace } from '../recipe/describe.js';
import type { Link } from '../recipe/link.js';
import { RESERVED_ENDINGS, RESERVED_IDS } from '../recipe/names.js';
import {
  fillIn,
  type IpProtocol,
  isFar,
  isPath,
  isUnix,
  type Recipe,
  type RecipeEnd,
  type RecipePlace,
  type RecipeTail,
  splitEnd,
} from '../recipe/recipe.js';
import type { Links } from '../state/links.js';
import { withTailPort } from './remote/far-part.js';
import { findLoop } from './routing-loop.js';

/** A link that cannot exist beside the present ones: its id or its head is taken, or they lead from its tail back to its head. */
export class Taken extends Error {}

/** Chooses the port of a head that names none, which has to be free for all these protocols. */
export type ChoosePort = (
  place: RecipePlace,
  protocols: IpProtocol[],
  taken: ReadonlySet<number>,
) => Promise<number>;

/** What a recipe is completed with. */
export interface Completion {
  /** The links that exist. */
  existing: Links;
  choosePort: ChoosePort;
  /** What the id begins with, instead of the port. */
  name?: string;
}

/**
 * Fills in what the recipe of a link and of its local children left open, in view of the links that exist: head ports, tail
 * ports that follow them, and ids.
 *
 * An id is the head's port, followed by the container or named netns of the head, and by `-2`, `-3`, … while it is taken; a
 * child's begins with its parent's. A child without a span of idleness has its parent's.
 *
 * @returns a new link; the recipe stays as it is
 * @throws Taken when an id or a head belongs to another link, or a client would go round in circles; what `choosePort` throws
 */
export async function completeLink(
  recipe: Recipe,
  { existing, choosePort, name }: Completion,
): Promise<Link> {
  const taken = takenBy(existing);
  const link = asLink(await complete(recipe, { idle: recipe.idle }));
  for (const { id } of link.tails ?? []) requireFreeId(taken, id);
  requireNoLoop(link, existing);
  return link;

  async function complete(open: Recipe, parent: { id?: string; idle: number | undefined }): Promise<Recipe> {
    const head = await withPort(open.head);
    const id = chooseId(open.id, head, parent.id);
    claim(taken, { id, end: head });

    const { idle } = parent;
    const done: Recipe = { ...open, id, head };
    if (idle !== undefined) done.idle = idle;
    if (open.tail) done.tail = withPortOf(open.tail, head);
    if (open.tails) done.tails = open.tails.map((one) => withPorts(one, head));
    const { child } = open;
    if (child && !isFar(child)) {
      const link = await complete(child.link, { id, idle: child.link.idle ?? idle });
      done.child = { ...child, link };
    }
    return done;
  }

  async function withPort(head: RecipeEnd): Promise<RecipeEnd> {
    const open = splitEnd(head).flatMap((end) => (isUnix(end) || end.port !== undefined ? [] : end.protocol));
    if (open.length === 0) return head;
    return fillIn(head, { port: await choosePort(head.place, open, takenPorts(taken)) });
  }

  function chooseId(wanted: string | undefined, head: RecipeEnd, parent: string | undefined): string {
    if (wanted !== undefined) return wanted;
    const { place } = head;
    const suffix = place.kind === 'container' || place.kind === 'netns' ? `-${idPart(place.name)}` : '';
    const own = `${parent === undefined ? '' : `${parent}-`}${nameOf(head)}${suffix}`;
    const base = parent === undefined && name !== undefined ? idPart(name) : own;
    for (let n = 1; ; n++) {
      const id = n === 1 ? base : `${base}-${n}`;
      if (!taken.ids.has(id) && !isReserved(id)) return id;
    }
  }
}

/** One of several tails, with the port of the head where it says none. */
function withPorts(one: RecipeTail, head: RecipeEnd): RecipeTail {
  const { tail, child } = one;
  return {
    ...one,
    ...(tail && { tail: withPortOf(tail, head) }),
    ...(child && { child: { ...child, link: withTailPort(child.link, portOf(head)) } }),
  };
}

/**
 * Makes sure that a link which was completed earlier still fits beside the links that exist.
 *
 * @throws Taken
 */
export function requireUntaken(link: Link, existing: Links): void {
  const taken = takenBy(existing);
  for (const next of withLocalChildren(link)) claim(taken, { id: next.id, end: next.head });
  for (const { id } of link.tails ?? []) requireFreeId(taken, id);
  requireNoLoop(link, existing);
}

function withLocalChildren(link: Link): Link[] {
  const { child } = link;
  return child === undefined || isFar(child) ? [link] : [link, ...withLocalChildren(child.link)];
}

function requireNoLoop(link: Link, { links }: Links): void {
  const own = withLocalChildren(link).map((one) => ({ id: one.id, link: one }));
  for (const one of own) {
    const loop = findLoop(one, [...links, ...own.filter((other) => other !== one)]);
    if (loop)
      throw new Taken(
        `link "${link.id}" would lead back to itself (${loop.join(' to ')}), and its clients would go round in circles: take another tail`,
      );
  }
}

interface Claim {
  id: string;
  end: RecipeEnd;
}

/** The ids and heads that links have. */
interface TakenNames {
  ids: Set<string>;
  heads: Claim[];
}

function takenBy({ links, unreadable }: Links): TakenNames {
  return {
    ids: new Set([...links, ...unreadable].map(({ id }) => id)),
    heads: links.flatMap(({ id, link }) => splitEnd(link.head).map((end) => ({ id, end }))),
  };
}

function takenPorts({ heads }: TakenNames): Set<number> {
  return new Set(heads.flatMap(({ end }) => portOf(end) ?? []));
}

function requireFreeId({ ids }: TakenNames, id: string): void {
  if (ids.has(id)) throw new Taken(`id "${id}" is taken: wormhole delete ${id}, or take another id`);
}

function claim(taken: TakenNames, { id, end }: Claim): void {
  requireFreeId(taken, id);
  const listeners = splitEnd(end);
  const rival = taken.heads.find((other) => listeners.some((listener) => overlap(other.end, listener)));
  if (rival) {
    const where = end.place.kind === 'host' ? '' : ` in ${describePlace(end.place)}`;
    const other = isUnix(rival.end) ? 'another path or name' : 'another port';
    throw new Taken(
      `link "${rival.id}" listens on ${address(rival.end)}${where} already: wormhole delete ${rival.id}, or take ${other}`,
    );
  }
  taken.ids.add(id);
  taken.heads.push(...listeners.map((listener) => ({ id, end: listener })));
}

function isReserved(id: string): boolean {
  return RESERVED_IDS.includes(id) || RESERVED_ENDINGS.some((ending) => id.endsWith(ending));
}

/** A named netns may contain characters that an id may not, and the name of a machine may be long. */
function idPart(name: string): string {
  return name.replace(/[^A-Za-z0-9_.-]/g, '_').slice(0, 60);
}

/** What an id begins with: the port of a head, or the name of its socket. */
function nameOf(head: RecipeEnd): string {
  if (!isUnix(head)) return `${head.port}`;
  const file = head.path.slice(head.path.lastIndexOf('/') + 1);
  return idPart(file.replace(/\.sock(et)?$/, '')).replace(/^[^A-Za-z0-9]+/, '') || head.protocol;
}

function withPortOf(tail: RecipeEnd, head: RecipeEnd): RecipeEnd {
  const port = portOf(head);
  return port === undefined ? tail : fillIn(tail, { port });
}

/** Whether two heads of one address each cannot both listen. */
function overlap(one: RecipeEnd, other: RecipeEnd): boolean {
  if (isUnix(one) || isUnix(other)) return isSameSocket(one, other);
  // Each container that a link runs is its own.
  if (one.place.kind === 'run' || other.place.kind === 'run') return false;
  if (one.protocol !== other.protocol || one.port !== other.port) return false;
  if (JSON.stringify(one.place) !== JSON.stringify(other.place)) return false;
  const hosts = [one.host, other.host];
  // A socket on :: takes IPv4 as well (ipv6(7), IPV6_V6ONLY), one on 0.0.0.0 only that.
  return (
    one.host === other.host ||
    hosts.includes('::') ||
    (hosts.includes('0.0.0.0') && !hosts.some((host) => host?.includes(':')))
  );
}

/** Whether two heads are one unix socket. A path is one file, and an abstract name one of each type in a namespace. */
function isSameSocket(one: RecipeEnd, other: RecipeEnd): boolean {
  if (!isUnix(one) || !isUnix(other) || one.path !== other.path) return false;
  if (isPath(one)) return true;
  if (one.place.kind === 'run' || one.protocol !== other.protocol) return false;
  return JSON.stringify(one.place) === JSON.stringify(other.place);
}
