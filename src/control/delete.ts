import { farthest } from '../recipe/link.js';
import { recipeText } from '../recipe/text.js';
import { connectSystemd, type Systemd } from '../systemd/systemd.js';
import { readUnitFile } from '../systemd/unit-files.js';
import { isId, serviceUnit } from '../units/names.js';
import type { NamedLink } from '../units/plan.js';
import { family, readLinks } from './links.js';
import { withLock } from './lock.js';
import { type OpenDebt, owe, type PartDebt, remindOfDebts } from './owed.js';
import { pay } from './pay.js';
import { takeAway } from './take-away.js';
import { takeBackUnfinished, unfinishedDuring } from './unfinished.js';

/** There is no link of that id, or it is not one to be deleted by itself. */
export class NotDeletable extends Error {}

/**
 * Deletes a link and the children that hang on it, also one whose units have become unreadable. A part on another machine
 * goes with it, or when that machine can be reached again.
 *
 * @returns what is left on another machine, in one line for people; undefined when nothing is
 * @throws NotDeletable; JobError when systemd cannot stop a unit
 */
export async function deleteLink(id: string): Promise<string | undefined> {
  if (!isId(id)) throw new NotDeletable(`no link "${id}": see wormhole list`);
  const systemd = await connectSystemd();
  try {
    const owed = await withLock('links', () => deleteHere(id, systemd));
    return owed && (await deleteThere(owed));
  } finally {
    await remindOfDebts(systemd);
    systemd.close();
  }
}

/** Deletes all that is on this machine, and writes down what is on another. */
async function deleteHere(
  id: string,
  systemd: Systemd,
): Promise<{ debt: PartDebt; open: OpenDebt } | undefined> {
  const { links, unreadable } = readLinks();
  const link = links.find((candidate) => candidate.id === id);
  const remains = unreadable.some((other) => other.id === id) || readUnitFile(serviceUnit(id)) !== undefined;
  await takeBackUnfinished(systemd);
  if (!link && !remains) throw new NotDeletable(`no link "${id}": see wormhole list`);
  if (link?.parent !== undefined && links.some((other) => other.id === link.parent)) {
    throw new NotDeletable(`link "${id}" is a part of link "${link.parent}": wormhole delete ${link.parent}`);
  }
  const debt = link && debtOf(link);
  const open = debt && owe(debt);
  const ids = family(id, links);
  await unfinishedDuring(ids, () => takeAway(ids, systemd));
  return debt && open && { debt, open };
}

function debtOf({ id, link, far }: NamedLink): PartDebt | undefined {
  const peer = farthest(link)?.child.peer;
  return far && peer !== undefined ? { ...far, peer, id, recipe: recipeText(link), until: 0 } : undefined;
}

/** Outside the lock: the other machine may need ours for its own part of the work. */
async function deleteThere({ debt, open }: { debt: PartDebt; open: OpenDebt }): Promise<string | undefined> {
  open.release();
  const left = await pay(debt);
  if (left === undefined) return undefined;
  return `link "${debt.id}" is gone here, and its part on machine ${debt.peer} goes when that can be told: ${left}`;
}
