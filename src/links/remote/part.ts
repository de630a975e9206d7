import type { CreatedPart } from '../../api/schema.js';
import { portOf } from '../../recipe/defaults.js';
import { endUrl } from '../../recipe/describe.js';
import { type Address, addressesOf, type End } from '../../recipe/link.js';
import { ipAddressOf, ipProtocolsFor } from '../../recipe/protocols.js';
import { fillIn, isUnix, type Recipe, splitEnd } from '../../recipe/recipe.js';
import { readCounters } from '../../state/counters.js';
import { readLinks } from '../../state/links.js';
import { withLock } from '../../state/lock.js';
import { withSystemd } from '../../systemd/systemd.js';
import { socketUnit } from '../../units/names.js';
import { type CreateOptions, type Owner, type PlannedLink, planLink } from '../../units/plan.js';
import { createLink } from '../create.js';
import { deleteLink } from '../delete.js';
import { freePort } from '../free-port.js';
import { AddressInUse, reinstall } from '../install.js';
import { isStopped } from '../is-stopped.js';
import { finishKilled } from '../unfinished.js';

/** This machine has no part of a link with that id. */
export class NoPart extends Error {}

/** The part belongs to another machine than the one that asks. */
export class OtherOwner extends Error {}

/** What another machine asks for. */
export interface PartRequest {
  /** As `parseFarRecipe` reads it. */
  recipe: Recipe;
  options: CreateOptions;
  owner: Owner;
  /** The address of ours that faces the owner. */
  facing: string;
  keyFile: string;
  /** Whether the recipe was typed some time ago, as in the body of `PUT /v1/parts/ID`. */
  exactNames: boolean;
}

/** The last request about each part, by its id: a further one waits for it. */
const working = new Map<string, Promise<unknown>>();

/**
 * Creates this machine's part of another one's link, or makes the existing one serve that machine again, as the far head of a
 * recipe: it listens on the address that faces the machine, at a port that we choose, and admits that machine only.
 *
 * The same part may be asked for any number of times. What has changed since, such as an address, is changed in it; its port
 * stays, unless another program has taken it.
 *
 * @throws OtherOwner; as createLink
 */
export function createPart(request: PartRequest): Promise<CreatedPart> {
  const { recipe, options, owner, facing, keyFile, exactNames } = request;
  const wanted: Recipe = { ...recipe, head: fillIn(recipe.head, { host: facing }) };
  return inTurn(owner.partId, async () => {
    await finishKilled();
    const existing = findPart(owner.partId);
    if (existing === undefined) {
      const request = { recipe: wanted, options, keyFile, owner, exactNames };
      return (await createLink(request, () => {})).link;
    }
    requireOwner(existing, owner.identity);
    return updatePart(existing, { ...request, recipe: wanted }, portOf(recipe.head) === undefined);
  });
}

/**
 * Deletes this machine's part of another one's link, and returns what deleteLink does.
 *
 * @param machine the id of the machine that asks
 * @throws NoPart, OtherOwner; as deleteLink
 */
export function deletePart(partId: string, machine: string): Promise<string[]> {
  return inTurn(partId, async () => {
    await finishKilled();
    const existing = findPart(partId);
    if (existing === undefined) throw new NoPart('this machine has no part of that link');
    requireOwner(existing, machine);
    return deleteLink(existing.id);
  });
}

/** A part that an earlier version has created belongs to no machine yet. */
function requireOwner({ owner }: PlannedLink, machine: string | undefined): void {
  if (owner?.identity === undefined || owner.identity === machine) return;
  throw new OtherOwner(
    `the part of link ${owner.id} belongs to another machine than yours, which is ${machine}. If that machine was reinstalled, run here: wormhole peers accept ${owner.identity} ${machine}`,
  );
}

function findPart(partId: string): PlannedLink | undefined {
  return readLinks().links.find(({ owner }) => owner?.partId === partId);
}

function updatePart(
  existing: PlannedLink,
  { recipe, owner }: PartRequest,
  anyPort: boolean,
): Promise<CreatedPart> {
  const { id, link, far, options } = existing;
  const present = ipAddressOf(addressesOf(link.head));
  const wanted = ipAddressOf(splitEnd(recipe.head));
  if (!present) throw new Error(`link "${id}" has no port that another machine could reach`);
  const { port } = present;
  const host = wanted?.host ?? present.host;
  const at = (newPort: number): PlannedLink => {
    const moved = { ...link, head: moveTo(link.head, { host, port: newPort }) };
    return planLink({ link: moved, options, owner, ...(far && { far }) })[0] as PlannedLink;
  };
  return withSystemd((systemd) =>
    withLock('links', async () => {
      if (await isStopped(existing, systemd))
        throw new Error(`link "${id}" is stopped here: wormhole start ${id}`);
      const same =
        present.host === host &&
        existing.owner?.address === owner.address &&
        existing.owner.identity === owner.identity &&
        existing.owner.tunnel === owner.tunnel;
      const listens = (await systemd.state(socketUnit(id))).active === 'active';
      if (same && listens) return created(existing);
      const updated = at(port);
      try {
        await reinstall(updated, systemd);
        return created(updated);
      } catch (error) {
        if (!(error instanceof AddressInUse) || !anyPort) throw error;
      }
      const protocols = ipProtocolsFor(splitEnd(link.head));
      const moved = at(await freePort(link.head.place, protocols, new Set([port])));
      await reinstall(moved, systemd);
      return created(moved);
    }),
  );
}

/** The head of a part at another address: all its listeners have one, see checkDrafts. */
function moveTo(head: End, to: { host: string; port: number }): End {
  const move = <A extends Address>(address: A): A => (isUnix(address) ? address : { ...address, ...to });
  const moved = move(head);
  if (head.also) moved.also = head.also.map(move);
  return moved;
}

function created({ id, link: { head } }: PlannedLink): CreatedPart {
  const failing = readCounters(id)?.failing?.reason;
  return { id, url: endUrl(head), ...(failing !== undefined && { failing }) };
}

/** A part may be asked for again while it is being created, if the wire was cut meanwhile; and then deleted. */
async function inTurn<T>(partId: string, work: () => Promise<T>): Promise<T> {
  const before = working.get(partId) ?? Promise.resolve();
  const now = before.then(work, work);
  working.set(partId, now);
  try {
    return await now;
  } finally {
    if (working.get(partId) === now) working.delete(partId);
  }
}
