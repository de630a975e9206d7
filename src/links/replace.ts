import { portOf } from '../recipe/defaults.js';
import { endUrls } from '../recipe/describe.js';
import { RecipeError } from '../recipe/error.js';
import { formatRecipe } from '../recipe/format.js';
import { type FarLink, findFarLink, type Link } from '../recipe/link.js';
import { fillIn, isUnix, type Recipe, splitEnd } from '../recipe/recipe.js';
import { recipeText } from '../recipe/text.js';
import { writeFarAddress } from '../state/far-address.js';
import { familyOf, type Links, readLinks } from '../state/links.js';
import { withLock } from '../state/lock.js';
import { type PartDeletion, recordDeletion, recordDeletions } from '../state/pending-deletions.js';
import type { Systemd } from '../systemd/systemd.js';
import { type CreateOptions, type FarPart, isEager, type PlannedLink, planLink } from '../units/plan.js';
import { changeLink, type DropInChange } from './change.js';
import { withoutClientLimits } from './client-limits.js';
import { completeLink, requireUntaken } from './complete.js';
import { IsChild } from './delete.js';
import { tellForwarder } from './drain.js';
import { freePort } from './free-port.js';
import { withoutProxyOptions } from './proxy-options.js';
import { carryOutDeletion } from './remote/carry-out-deletion.js';
import { createFarPart, farTails, newFarPart, recipeForPeer } from './remote/far-part.js';
import { deletionOf, farPartsOf } from './remote/far-parts-of.js';
import { keptServices } from './remote/kept-parts.js';
import { undoFarPart } from './remote/undo-far-part.js';
import { withFarParts } from './remote/with-far-parts.js';
import { withDeparted } from './services/departed.js';
import { removeUnfinished } from './unfinished.js';

/** The link cannot be changed in place. */
export class Irreplaceable extends Error {}

/** What a link is replaced with. */
export interface Replacement {
  /** Looked up already. */
  recipe: Recipe;
  options: CreateOptions;
  keyFile: string;
  exactNames: boolean;
  /** The drop-ins of files that change. */
  dropIns?: DropInChange;
}

/** A link that was changed in place; `left` has a line for each thing that is left of what it was, for people. */
export interface ReplacedLink {
  id: string;
  url: string;
  also?: string[];
  left?: string[];
}

/**
 * The link that a recipe replaces, with its children, the parent first: the one that has its id. Undefined when there is none.
 *
 * @throws RecipeError when the recipe does not say which; IsChild, Irreplaceable
 */
export async function findReplaced(recipe: Recipe, existing: Links): Promise<PlannedLink[] | undefined> {
  const id = await idOf(recipe);
  const { links, unreadable } = existing;
  const broken = unreadable.find((other) => other.id === id);
  if (broken)
    throw new Irreplaceable(
      `link "${id}" cannot be read: ${broken.reason}; wormhole delete ${id} removes it`,
    );
  const root = links.find((link) => link.id === id);
  if (!root) return undefined;
  if (root.parent !== undefined)
    throw new IsChild(`link "${id}" is a part of link "${root.root}": replace that one`);
  if (root.owner)
    throw new Irreplaceable(
      `link "${id}" is a part of link "${root.owner.id}" on machine ${root.owner.machine}: change that one`,
    );
  const ids = familyOf(id, links);
  return links.filter((link) => ids.includes(link.id));
}

/** What is left of the links without those of a family. */
export function without(family: PlannedLink[], { links, unreadable }: Links): Links {
  const ids = new Set(family.map(({ id }) => id));
  return { links: links.filter(({ id }) => !ids.has(id)), unreadable };
}

/** A head without a port has the one of the link that it replaces. */
export function withFormerPort(recipe: Recipe, [root]: PlannedLink[]): Recipe {
  const port = root && portOf(root.link.head);
  const open = splitEnd(recipe.head).some((end) => !isUnix(end) && end.port === undefined);
  return open && port !== undefined ? { ...recipe, head: fillIn(recipe.head, { port }) } : recipe;
}

/**
 * Changes a link in place. What is the same goes on: containers that are run with the same arguments, a head that listens as
 * before with its open sessions, and a part on another machine. When anything fails, the link stays, or becomes again, what
 * it was.
 *
 * @throws Taken, Irreplaceable; as changeLink and createFarPart
 */
export async function replaceLink(
  family: PlannedLink[],
  { recipe: wanted, options, keyFile, exactNames, dropIns }: Replacement,
  systemd: Systemd,
): Promise<ReplacedLink> {
  const [root] = family;
  if (!root) throw new Error('there is no link to replace');
  const recipe = await withDeparted(withFormerPort(wanted, family), root, systemd);
  const existing = without(family, readLinks());
  const link = await completeLink({ ...recipe, id: root.id }, { existing, choosePort: freePort });
  const far = link.tails
    ? farOfTails(family, { link, options, keyFile })
    : farOf(root, { link, options, keyFile });
  const drained = drainedOf(root, link);
  const next = planLink({
    link,
    options,
    ...(far && { far }),
    ...(root.creator !== undefined && { creator: root.creator }),
    ...(drained.length > 0 && { drained }),
  });
  const [url = '', ...also] = endUrls(link.head);
  const replaced = { id: root.id, url, ...(also.length > 0 && { also }) };
  const left: string[] = [];
  const note = (line: string) => left.push(line);
  const swap = (far?: { id: string; tell: () => void }, tellTails?: () => void) =>
    withLock('links', async () => {
      await removeUnfinished(systemd);
      requireSame(family, readLinks());
      requireUntaken(link, without(family, readLinks()));
      tellTails?.();
      const change = { former: family, next, ...(far && { far }), ...(dropIns && { dropIns }) };
      left.push(...(await changeLink(change, systemd)));
      if (link.tails) tellForwarder(link.id, drained);
    });
  const kept = new Set(farPartsOf(next).map((part) => part.far.partId));
  const former = farPartsOf(family);
  const farLink = findFarLink(link);
  const isNew = far !== undefined && far.partId !== root.far?.partId;
  const gone = former.filter((part) => !kept.has(part.far.partId)).map(deletionOf);
  // Before the change: if this is killed after it, all of them are deleted nevertheless.
  const held = recordDeletions(gone);
  try {
    if (isNew && farLink && isEager(recipe))
      await withNewPart({ link: farLink, far, options, exactNames }, swap);
    else if (link.tails) {
      const known = new Set(former.map((part) => part.far.partId));
      const added = farPartsOf(next).filter((part) => part.isEager && !known.has(part.far.partId));
      const services = await keptServices({ former: family, next, options });
      await withFarParts(added, { options, exactNames, keptServices: services, note }, (tell) =>
        swap(undefined, tell),
      );
    } else await swap();
  } catch (error) {
    held.discard();
    throw error;
  }
  held.release();
  for (const part of gone) left.push(...(await deleteFormerPart(root.id, part)));
  return { ...replaced, ...(left.length > 0 && { left }) };
}

/** The tails that get no new client, of those that a link still has. */
export function drainedOf(former: PlannedLink | undefined, { tails = [] }: Link): string[] {
  const wasLeaving = (name: string) => former?.link.tails?.some((tail) => tail.name === name && tail.leaving);
  return tails.flatMap(({ name, leaving }) => {
    const isDrained = former?.drained?.includes(name) && !wasLeaving(name);
    return leaving || isDrained ? name : [];
  });
}

/** The id that create would give a link if there were no other. */
async function idOf(recipe: Recipe): Promise<string> {
  if (recipe.id !== undefined) return recipe.id;
  if (splitEnd(recipe.head).some((end) => !isUnix(end) && end.port === undefined))
    throw new RecipeError('which link is to be replaced? Say its id, or the port of its head');
  const nothing = { links: [], unreadable: [] };
  return (await completeLink(recipe, { existing: nothing, choosePort: freePort })).id;
}

/** The part on another machine: the former one, if it would be the same. */
function farOf(
  root: PlannedLink,
  { link, options, keyFile }: { link: Link; options: CreateOptions; keyFile: string },
): FarPart | undefined {
  const [former, next] = [findFarLink(root.link), findFarLink(link)];
  if (!next) return undefined;
  const isSame = former && partText(former, root.options) === partText(next, options);
  return isSame && root.far ? root.far : newFarPart(keyFile);
}

/** The parts of several tails on other machines: the former ones, of those that would be the same. */
export function farOfTails(
  family: PlannedLink[],
  { link, options, keyFile }: { link: Link; options: CreateOptions; keyFile: string },
): FarPart | undefined {
  const { tails } = farTails(link);
  if (!tails) return undefined;
  const far: FarPart = { ...(family[0]?.far ?? newFarPart(keyFile)), keyFile, tails };
  const former = farPartsOf(family);
  for (const part of farPartsOf(planLink({ link, options, far }))) {
    const same = former.find(
      (one) => partText(one.link, family[0]?.options ?? options) === partText(part.link, options),
    );
    const name = link.tails?.find(({ id }) => id === part.link.id)?.name;
    if (same && name !== undefined) tails[name] = same.far.partId;
  }
  return far;
}

/** All that the other machine is asked for. */
function partText(link: FarLink, options: CreateOptions): string {
  const { kind, peer, service, port } = link.child;
  return JSON.stringify([
    link.id,
    kind,
    peer,
    service,
    port,
    formatRecipe(recipeForPeer(link)),
    withoutProxyOptions(withoutClientLimits(options)),
  ]);
}

/** Has another machine create its part, and removes it there when the change here fails. */
async function withNewPart(
  part: { link: FarLink; far: FarPart; options: CreateOptions; exactNames: boolean },
  swap: (tell: { id: string; tell: () => void }) => Promise<void>,
): Promise<void> {
  const { link, far } = part;
  const deletion = {
    kind: 'part' as const,
    ...far,
    peer: link.child.peer,
    linkId: link.id,
    recipe: recipeText(link),
    until: 0,
  };
  const held = recordDeletion(deletion);
  try {
    const address = await createFarPart(part);
    await swap({ id: link.id, tell: () => writeFarAddress(link.id, address) });
  } catch (error) {
    throw await undoFarPart(deletion, held, error as Error);
  }
  held.discard();
}

/** Returns why the other machine could not be told, if it could not, as a line for people. */
async function deleteFormerPart(id: string, part: PartDeletion): Promise<string[]> {
  const reason = await carryOutDeletion(part);
  if (reason === undefined) return [];
  return [
    `link "${id}" is changed; its former part on machine ${part.peer} is deleted as soon as that machine can be told: ${reason}`,
  ];
}

/** @throws Irreplaceable when another command has changed or deleted the link meanwhile */
function requireSame(family: PlannedLink[], { links }: Links): void {
  const isSame = family.every((part) => {
    const now = links.find(({ id }) => id === part.id);
    return now && JSON.stringify(now) === JSON.stringify(part);
  });
  if (!isSame)
    throw new Irreplaceable(`link "${family[0]?.id}" has just been changed or deleted: see wormhole list`);
}
