import { readLinks } from '../state/links.js';
import { withLock } from '../state/lock.js';
import { makeDirectory, writeAtomically } from '../system/files.js';
import { withSystemd } from '../systemd/systemd.js';
import { readUnitFile, replaceUnitFile } from '../systemd/unit-files.js';
import { withDrained } from '../units/drain.js';
import { drainedFile, linkDirectory, serviceUnit, socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { IsChild, NoSuchLink } from './delete.js';
import { requireFinished } from './former-version.js';
import { removeUnfinished } from './unfinished.js';

/** The link has no such tail, or only one. */
export class NoSuchTail extends Error {}

/**
 * Makes a tail of a link get no new client, or get them again. Its sessions go on. That survives reboots: the units of the link
 * say it.
 *
 * @param tail its name, its id in `wormhole list`, or its place in the recipe, from 1
 * @throws NoSuchLink, IsChild, NoSuchTail
 */
export function drainTail(id: string, tail: string, drains: boolean): Promise<void> {
  return withSystemd((systemd) =>
    withLock('links', async () => {
      await removeUnfinished(systemd);
      const link = findLink(id);
      await requireFinished(id);
      const name = findTail(link, tail);
      const others = (link.drained ?? []).filter((other) => other !== name);
      const drained = drains ? [...others, name] : others;
      const former = link.drained ?? [];
      try {
        writeDrained(id, drained);
      } catch (error) {
        writeDrained(id, former);
        throw error;
      }
      await systemd.reloadAll();
    }),
  );
}

/** Writes it to the units, and tells the front forwarder. */
function writeDrained(id: string, drained: string[]): void {
  for (const unit of [socketUnit(id), serviceUnit(id)]) {
    const text = readUnitFile(unit);
    if (text !== undefined) replaceUnitFile(unit, withDrained(text, drained));
  }
  tellForwarder(id, drained);
}

/** Tells the front forwarder of a link which tails get no new client. */
export function tellForwarder(id: string, drained: string[]): void {
  makeDirectory(linkDirectory(id));
  writeAtomically(drainedFile(id), drained.map((name) => `${name}\n`).join(''));
}

function findLink(id: string): PlannedLink {
  const link = readLinks().links.find((candidate) => candidate.id === id);
  if (!link) throw new NoSuchLink(`no link "${id}": see wormhole list`);
  if (link.tailOf !== undefined)
    throw new IsChild(`link "${id}" is a tail of link "${link.root}": name both, ${link.root} and the tail`);
  if (!link.link.tails)
    throw new NoSuchTail(
      `link "${id}" has one tail, so no other could serve its clients: wormhole stop closes it`,
    );
  return link;
}

function findTail({ id, link }: PlannedLink, tail: string): string {
  const tails = link.tails ?? [];
  const found =
    tails.find(({ name, id }) => [name, id].includes(tail)) ??
    tails.find((_, index) => tail === `${index + 1}`);
  if (found) return found.name;
  throw new NoSuchTail(
    `link "${id}" has no tail "${tail}"; it has ${tails.map(({ name }) => name).join(', ')}`,
  );
}
