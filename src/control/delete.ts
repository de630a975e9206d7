import { connectSystemd } from '../systemd/systemd.js';
import { readUnitFile } from '../systemd/unit-files.js';
import { isId, serviceUnit } from '../units/names.js';
import { family, readLinks } from './links.js';
import { withLock } from './lock.js';
import { takeAway } from './take-away.js';
import { takeBackUnfinished, unfinishedDuring } from './unfinished.js';

/** There is no link of that id, or it is not one to be deleted by itself. */
export class NotDeletable extends Error {}

/**
 * Deletes a link and the children that hang on it, also one whose units have become unreadable.
 *
 * @throws NotDeletable; JobError when systemd cannot stop a unit
 */
export async function deleteLink(id: string): Promise<void> {
  if (!isId(id)) throw new NotDeletable(`no link "${id}": see wormhole list`);
  const systemd = await connectSystemd();
  try {
    await withLock('links', async () => {
      const { links, unreadable } = readLinks();
      const link = links.find((candidate) => candidate.id === id);
      const remains =
        unreadable.some((other) => other.id === id) || readUnitFile(serviceUnit(id)) !== undefined;
      await takeBackUnfinished(systemd);
      if (!link && !remains) throw new NotDeletable(`no link "${id}": see wormhole list`);
      if (link?.parent !== undefined && links.some((other) => other.id === link.parent)) {
        throw new NotDeletable(
          `link "${id}" is a part of link "${link.parent}": wormhole delete ${link.parent}`,
        );
      }
      const ids = family(id, links);
      await unfinishedDuring(ids, () => takeAway(ids, systemd));
    });
  } finally {
    systemd.close();
  }
}
