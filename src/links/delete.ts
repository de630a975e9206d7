import { findFarLink } from '../recipe/link.js';
import { recipeText } from '../recipe/text.js';
import { familyOf, readLinks } from '../state/links.js';
import { withLock } from '../state/lock.js';
import {
  type HeldDeletion,
  type PartDeletion,
  recordDeletion,
  startPendingDeletions,
} from '../state/pending-deletions.js';
import { retainedGuards } from '../state/retained-guards.js';
import { type Systemd, withSystemd } from '../systemd/systemd.js';
import { foreignUnit, readUnitFile } from '../systemd/unit-files.js';
import { repairTunnels } from '../tunnels/repair.js';
import { isId, serviceUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { carryOutDeletion } from './remote/carry-out-deletion.js';
import { remove } from './remove.js';
import { removeUnfinished, whileUnfinished } from './unfinished.js';

/** There is no link with that id. */
export class NoSuchLink extends Error {}

/** The link is a child of another, which has to be deleted as a whole. */
export class IsChild extends Error {}

/**
 * Deletes a link with its children, also one whose units cannot be read any more. Its part on another machine is deleted too,
 * as soon as that machine can be reached.
 *
 * With `tell` false, the other machine is not told, now or ever.
 *
 * @returns what is left on another machine, in one line for people; undefined when nothing is
 * @throws NoSuchLink, IsChild; JobError when systemd cannot stop a unit; IpError when the kernel goes on blocking what need not be blocked
 */
export async function deleteLink(
  id: string,
  { tell }: { tell: boolean } = { tell: true },
): Promise<string | undefined> {
  if (!isId(id)) throw new NoSuchLink(`no link "${id}": see wormhole list`);
  return withSystemd(async (systemd) => {
    try {
      const pending = await withLock('links', () => deleteHere(id, systemd));
      // It may have been the last link that kept the addresses of a deleted tunnel blocked.
      if (retainedGuards().length > 0) await repairTunnels();
      if (!tell) pending?.held.discard();
      return pending && tell ? await deleteThere(pending) : undefined;
    } finally {
      await startPendingDeletions(systemd);
    }
  });
}

interface Pending {
  deletion: PartDeletion;
  held: HeldDeletion;
}

/** Deletes all that is on this machine, and records what is on another. */
async function deleteHere(id: string, systemd: Systemd): Promise<Pending | undefined> {
  const { links, unreadable } = readLinks();
  const link = links.find((candidate) => candidate.id === id);
  const service = serviceUnit(id);
  const isLeft = readUnitFile(service) !== undefined && foreignUnit(service) === undefined;
  const remains = unreadable.some((other) => other.id === id) || isLeft;
  await removeUnfinished(systemd);
  if (!link && !remains) throw new NoSuchLink(`no link "${id}": see wormhole list`);
  if (link?.parent !== undefined && links.some((other) => other.id === link.parent)) {
    throw new IsChild(`link "${id}" is a part of link "${link.parent}": wormhole delete ${link.parent}`);
  }
  const deletion = link && partDeletion(link);
  const held = deletion && recordDeletion(deletion);
  const ids = familyOf(id, links);
  await whileUnfinished(ids, () => remove(ids, systemd));
  return deletion && held && { deletion, held };
}

function partDeletion({ id, link, far }: PlannedLink): PartDeletion | undefined {
  const peer = findFarLink(link)?.child.peer;
  if (!far || peer === undefined) return undefined;
  return { kind: 'part', ...far, peer, linkId: id, recipe: recipeText(link), until: 0 };
}

/** Outside the lock: the other machine may need ours for its own part of the work. */
async function deleteThere({ deletion, held }: Pending): Promise<string | undefined> {
  held.release();
  const reason = await carryOutDeletion(deletion);
  if (reason === undefined) return undefined;
  return `link "${deletion.linkId}" is deleted here; its part on machine ${deletion.peer} is deleted as soon as that machine can be told: ${reason}`;
}
