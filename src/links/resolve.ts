import { realpathSync } from 'node:fs';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { findByNameOrId, findContainer } from '../docker/container.js';
import { containerState } from '../docker/container-state.js';
import { ownState } from '../docker/run-container.js';
import { address, describePlace } from '../recipe/describe.js';
import type { PlaceId } from '../recipe/link.js';
import {
  isFar,
  isPath,
  isUnix,
  type Recipe,
  type RecipeAddress,
  type RecipeEnd,
  type RecipeIpAddress,
  type RecipePlace,
  type RecipeTail,
  splitEnd,
  tailOf,
} from '../recipe/recipe.js';
import { destination, listensOn } from '../recipe/self.js';
import { isAlwaysPresent } from '../text/ip-address.js';
import type { PlannedLink } from '../units/plan.js';
import { findNamespace, PlaceAbsent } from './containers/namespace.js';
import { requireEngine } from './containers/require-engine.js';
import { containerOf, type LinkRun, runsIn } from './containers/runs.js';
import { lookUpMachines } from './services/machines.js';
import { findUnit } from './units/find.js';

/** A recipe that is well formed, but cannot be carried out on this machine as it is. */
export class Unresolvable extends Error {}

/** How the names in a recipe are read. */
export interface Naming {
  /** Whether somebody typed them some time ago: then the beginning of a container's id is none. */
  exactNames: boolean;
}

/**
 * Looks up what a recipe names: every container runs, every named netns exists, every head address is one of this machine's.
 *
 * A container that was given by its id, or the beginning of it, is kept by its name: that stays the same when the container is
 * removed and created again, and people read it. A service that was given by an alias is kept by its own name.
 *
 * A service stands for the machines that publish it.
 *
 * @returns a new recipe; the given one stays as it is
 * @throws NoSuchContainer, PlaceAbsent, EngineDown, NoMachine, NoSuchUnit; Unresolvable when an address is not here, or an end is the other
 */
export async function resolveRecipe(given: Recipe, naming: Naming): Promise<Recipe> {
  const recipe = await lookUpMachines(given);
  const { head, tail, trigger, child } = recipe;
  const resolved: Recipe = { ...recipe, head: await resolveEnd(head, { ...naming, mustRun: true }) };
  if (tail) resolved.tail = withRealPaths(await resolveEnd(tail, { ...naming, mustRun: !trigger }));
  if (recipe.tails) resolved.tails = await resolveTails(recipe.tails, naming);
  if (child && !isFar(child)) resolved.child = { ...child, link: await resolveRecipe(child.link, naming) };
  for (const listener of splitEnd(resolved.head)) {
    requireLocalAddress(listener);
    for (const target of (resolved.tails ?? [resolved]).map(tailOf).flatMap(splitEnd))
      await requireTwoEnds(listener, target);
  }
  return resolved;
}

async function resolveTails(tails: RecipeTail[], naming: Naming): Promise<RecipeTail[]> {
  const resolved: RecipeTail[] = [];
  for (const one of tails) {
    const { tail, trigger } = one;
    const mustRun = !trigger;
    resolved.push(
      tail ? { ...one, tail: withRealPaths(await resolveEnd(tail, { ...naming, mustRun })) } : one,
    );
  }
  return resolved;
}

/** `mustRun` is false for a container that a connection starts. */
async function resolveEnd(
  end: RecipeEnd,
  { exactNames, mustRun }: Naming & { mustRun: boolean },
): Promise<RecipeEnd> {
  const { place } = end;
  if (place.kind === 'run') {
    await requireEngine();
    return end;
  }
  if (place.kind === 'host' && place.unit !== undefined)
    return { ...end, place: { ...place, unit: await findUnit(place.unit) } };
  if (place.kind !== 'container') {
    await findNamespace(place);
    return end;
  }
  await requireEngine();
  const { name } = await (exactNames ? findByNameOrId : findContainer)(place.name);
  const found = { kind: 'container' as const, name };
  if (mustRun) await findNamespace(found);
  return { ...end, place: found };
}

/**
 * Makes sure that the containers which a link is to run can have the names that --name gives them.
 *
 * @param recipe looked up already
 * @param replaced the link that it replaces, with its children: the names of their containers are free for it
 * @throws Unresolvable; EngineDown, or the engine's own error
 */
export async function requireFreeNames(recipe: Recipe, replaced: PlannedLink[] = []): Promise<void> {
  const { head, child } = recipe;
  const tails = (recipe.tails ?? [recipe]).map(({ tail }) => tail).filter((tail) => tail !== undefined);
  for (const { place } of [head, ...tails])
    if (place.kind === 'run') await requireFreeName(place.request.name, runsIn(replaced));
  if (child && !isFar(child)) await requireFreeNames(child.link, replaced);
}

async function requireFreeName(name: string | undefined, former: LinkRun[]): Promise<void> {
  if (name === undefined || (await containerState(name)) === undefined) return;
  for (const run of former)
    if (containerOf(run) === name && (await ownState(run.name, run.link.id, name)) !== undefined) return;
  throw new Unresolvable(
    `--name "${name}": there is a container of that name; take another, or docker rm ${name}`,
  );
}

/** systemd would bind an address of another machine too (FreeBind=), and no client would ever come. */
function requireLocalAddress(head: RecipeEnd): void {
  if (isUnix(head)) return;
  const { host, place } = head;
  if (place.kind !== 'host' || host === undefined || isAlwaysPresent(host)) return;
  const own = ownAddresses();
  if (!own.includes(host)) {
    throw new Unresolvable(`"${host}" is not an address of this host; it has ${own.join(', ')}`);
  }
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((entry) => entry.address));
}

/** The recipe alone distinguishes names. Namespaces may be the same: a container may share that of the host or of another. */
async function requireTwoEnds(head: RecipeEnd, tail: RecipeEnd): Promise<void> {
  if (isUnix(head) || isUnix(tail)) return requireTwoSockets(head, tail);
  if (head.protocol !== tail.protocol || head.port === undefined || head.port !== tail.port) return;
  if (!listensAt(head, tail)) return;
  if (!(await areOneNamespace(head.place, tail.place))) return;
  throw new Unresolvable(
    `cannot proxy to self: ${describePlace(head.place)} and ${describePlace(tail.place)} share one network namespace, and both ends are ${address(head)} there`,
  );
}

/** An end with an address and a port. */
type IpEnd = RecipeIpAddress & Pick<RecipeEnd, 'place'>;

/** Whether a head listens at the address of a tail, if the two are in one namespace. Where a name leads to is not known yet. */
function listensAt(head: IpEnd, tail: IpEnd): boolean {
  if (head.host === undefined || tail.host === undefined) return head.host === tail.host;
  const target = destination(tail.host);
  if (listensOn(head.host, target)) return true;
  const isWildcard = head.host === '::' || (head.host === '0.0.0.0' && isIP(target) === 4);
  // The addresses of other namespaces are not known here.
  return (
    isWildcard && [head, tail].some(({ place }) => place.kind === 'host') && ownAddresses().includes(target)
  );
}

/** As {@link requireTwoEnds}, for unix sockets: a path may lead to the same file by another way. */
async function requireTwoSockets(head: RecipeEnd, tail: RecipeEnd): Promise<void> {
  if (!isUnix(head) || !isUnix(tail) || isPath(head) !== isPath(tail)) return;
  const isSame = isPath(head)
    ? realPath(head.path) === realPath(tail.path)
    : head.path === tail.path && (await areOneNamespace(head.place, tail.place));
  if (isSame)
    throw new Unresolvable(`cannot proxy to self: ${address(head)} and ${address(tail)} are one socket`);
}

/** The forwarder sees the directory of its target, and would not see what a symbolic link there leads to. */
function withRealPaths(end: RecipeEnd): RecipeEnd {
  const follow = <A extends RecipeAddress>(one: A): A =>
    isUnix(one) && isPath(one) ? { ...one, path: realPath(one.path) } : one;
  return { ...follow(end), ...(end.also && { also: end.also.map(follow) }) };
}

/** A path of a socket with symbolic links followed, the last one included; it need not exist. */
function realPath(path: string): string {
  for (const follow of [() => realpathSync(path), () => join(realpathSync(dirname(path)), basename(path))])
    try {
      return follow();
    } catch {
      // What does not exist yet is no link.
    }
  return path;
}

async function areOneNamespace(head: RecipePlace, tail: RecipePlace): Promise<boolean> {
  const places = [head, tail].filter(isKnown);
  if (places.length < 2) return false;
  try {
    const [one, other] = await Promise.all(places.map(findNamespace));
    return one?.inode === other?.inode;
  } catch (error) {
    // A container that a connection starts has no namespace now.
    if (error instanceof PlaceAbsent) return false;
    throw error;
  }
}

/** Whether a place exists already: a container that the link runs is its own. */
function isKnown(place: RecipePlace): place is RecipePlace & PlaceId {
  return place.kind !== 'run';
}
