import { networkInterfaces } from 'node:os';
import { containerState } from '../docker/container-state.js';
import { findContainer } from '../docker/engine.js';
import { parseRunArguments } from '../docker/run-arguments.js';
import { address, describePlace } from '../recipe/describe.js';
import { type End, type Link, type Place, tailOf } from '../recipe/link.js';
import { requireEngine } from './engine.js';
import { findNamespace, PlaceAbsent } from './namespace.js';

/** A recipe that is well formed and cannot be carried out on this machine as it is. */
export class Unresolvable extends Error {}

/**
 * Looks up what a recipe names: every container runs, every named netns exists, every head address is this machine's.
 *
 * A container that was given by its id, or the beginning of it, is kept by its name: that is what stays the same when
 * it is removed and made anew, and what people read.
 *
 * @returns a new link; the given one stays as it is
 * @throws NoSuchContainer, PlaceAbsent, EngineDown; Unresolvable when an address is not here, or an end is the other
 */
export async function resolveLink(link: Link): Promise<Link> {
  const resolved: Link = { ...link, head: await resolveEnd(link.head, false) };
  if (link.tail) resolved.tail = await resolveEnd(link.tail, link.trigger);
  if (link.child && link.child.peer === undefined) {
    resolved.child = { ...link.child, link: await resolveLink(link.child.link) };
  }
  requireLocalAddress(resolved.head);
  await requireTwoEnds(resolved.head, tailOf(resolved));
  return resolved;
}

/** @param later whether a connection is to start the container, so that it need not run now */
async function resolveEnd(end: End, later: boolean): Promise<End> {
  if (end.place.kind === 'run') {
    await requireEngine();
    await requireFreeName(parseRunArguments(end.place.args).name);
    return end;
  }
  if (end.place.kind !== 'container') {
    await findNamespace(end.place);
    return end;
  }
  await requireEngine();
  const place: Place = { kind: 'container', name: (await findContainer(end.place.name)).name };
  if (!later) await findNamespace(place);
  return { ...end, place };
}

async function requireFreeName(name: string | undefined): Promise<void> {
  if (name === undefined || (await containerState(name)) === undefined) return;
  throw new Unresolvable(
    `--name "${name}": there is a container of that name; take another, or docker rm ${name}`,
  );
}

/** systemd would bind a foreign address too (FreeBind=), and nobody would ever come. */
function requireLocalAddress({ host, place }: End): void {
  if (place.kind !== 'host' || host === undefined || /^127\.|^0\.0\.0\.0$|^::1?$/.test(host)) return;
  const own = Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).map((entry) => entry.address),
  );
  if (!own.includes(host)) {
    throw new Unresolvable(`"${host}" is no address of this host; it has ${own.join(', ')}`);
  }
}

/** The recipe told apart names; this tells apart namespaces: a container may share the host's, or another one's. */
async function requireTwoEnds(head: End, tail: End): Promise<void> {
  const covers = head.host === tail.host || head.host === '0.0.0.0' || head.host === '::';
  if (!covers || head.protocol !== tail.protocol || head.port === undefined || head.port !== tail.port)
    return;
  if ([head, tail].some(({ place }) => place.kind === 'run')) return;
  try {
    const [one, other] = await Promise.all([findNamespace(head.place), findNamespace(tail.place)]);
    if (one.inode !== other.inode) return;
  } catch (error) {
    // One that a connection is to start has no namespace now.
    if (error instanceof PlaceAbsent) return;
    throw error;
  }
  throw new Unresolvable(
    `cannot proxy to self: ${describePlace(head.place)} and ${describePlace(tail.place)} share one network namespace, and both ends are ${address(head)} there`,
  );
}
