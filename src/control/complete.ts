import { address, describePlace } from '../recipe/describe.js';
import type { End, Link, Place } from '../recipe/link.js';
import { RESERVED_ENDINGS, RESERVED_IDS } from '../recipe/names.js';
import type { Links } from './links.js';

/** A link that cannot be made beside those there are: its id or its head is taken. */
export class Taken extends Error {}

/** The port to use for an end that names none. */
export type ChoosePort = (place: Place, taken: ReadonlySet<number>) => Promise<number>;

/**
 * Gives a link and its local children what the recipe left open, in the light of the links there are: head ports,
 * tail ports that follow them, and ids.
 *
 * An id is the head's port, with the container or named netns of the head behind it, and with `-2`, `-3`, … behind
 * that while it is taken; a child's begins with its parent's. A child without a span of idleness has its parent's.
 *
 * @param name what the id begins with instead
 * @returns a new link; the given one stays as it is
 * @throws Taken when an id or a head belongs to another link; what `choosePort` throws
 */
export async function completeLink(
  link: Link,
  existing: Links,
  choosePort: ChoosePort,
  name?: string,
): Promise<Link> {
  const ids = new Set([...existing.links, ...existing.unreadable].map(({ id }) => id));
  const heads = existing.links.map(({ id, link: { head } }) => ({ id, head }));
  return complete(link, undefined, link.idle);

  async function complete(open: Link, parent: string | undefined, idle: number | undefined): Promise<Link> {
    const head = { ...open.head };
    head.port ??= await choosePort(head.place, new Set(heads.flatMap((other) => other.head.port ?? [])));
    const id = nameLink(open.id, head, parent);
    const rival = heads.find((other) => overlap(other.head, head));
    if (rival) {
      const where = head.place.kind === 'host' ? '' : ` in ${describePlace(head.place)}`;
      throw new Taken(
        `link "${rival.id}" listens on ${address(rival.head)}${where} already: wormhole delete ${rival.id}, or take another port`,
      );
    }
    ids.add(id);
    heads.push({ id, head });

    const done: Link = { ...open, id, head };
    if (idle !== undefined) done.idle = idle;
    if (open.tail) done.tail = { ...open.tail, port: open.tail.port ?? head.port };
    if (open.child && open.child.peer === undefined) {
      done.child = { ...open.child, link: await complete(open.child.link, id, open.child.link.idle ?? idle) };
    }
    return done;
  }

  function nameLink(wanted: string | undefined, head: End, parent: string | undefined): string {
    if (wanted !== undefined) {
      if (ids.has(wanted))
        throw new Taken(`id "${wanted}" is taken: wormhole delete ${wanted}, or take another id`);
      return wanted;
    }
    const place =
      head.place.kind === 'container' || head.place.kind === 'netns' ? `-${wordOf(head.place.name)}` : '';
    const own = `${parent === undefined ? '' : `${parent}-`}${head.port}${place}`;
    const base = parent === undefined && name !== undefined ? wordOf(name) : own;
    for (let n = 1; ; n++) {
      const id = n === 1 ? base : `${base}-${n}`;
      if (
        !ids.has(id) &&
        !RESERVED_IDS.includes(id) &&
        !RESERVED_ENDINGS.some((ending) => id.endsWith(ending))
      )
        return id;
    }
  }
}

/** A named netns may hold what an id may not, and a machine's name be long. */
function wordOf(name: string): string {
  return name.replace(/[^A-Za-z0-9_.-]/g, '_').slice(0, 60);
}

/** Two heads that cannot both listen. */
function overlap(one: End, other: End): boolean {
  // Each container that a link runs is its own.
  if (one.place.kind === 'run') return false;
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
