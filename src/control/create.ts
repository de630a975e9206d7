import { endUrl } from '../recipe/describe.js';
import type { Link } from '../recipe/link.js';
import { lastLines } from '../systemd/journal.js';
import { connectSystemd, JobError, type Systemd } from '../systemd/systemd.js';
import { writeUnitFile } from '../systemd/unit-files.js';
import { netnsUnit, serviceUnit, socketUnit } from '../units/names.js';
import { describeEnd, flatten, type NamedLink, renderLink, type UnitFile } from '../units/render.js';
import { completeLink } from './complete.js';
import { installation, templates } from './installation.js';
import { readLinks } from './links.js';
import { withLock } from './lock.js';
import { freePort } from './ports.js';
import { resolveLink } from './resolve.js';
import { takeAway } from './take-away.js';
import { takeBackUnfinished, unfinishedDuring } from './unfinished.js';

/** A link as it was made: its id, and the url of its head. */
export interface Created {
  id: string;
  url: string;
}

/**
 * Makes a link: looks up what it names, writes its units, starts its sockets, enables them for the next boot.
 *
 * Whatever it has made it takes back when anything fails.
 *
 * @throws whatever was wrong, with a message of one line
 */
export async function createLink(recipe: Link): Promise<Created> {
  const resolved = await resolveLink(recipe);
  const systemd = await connectSystemd();
  try {
    return await withLock(async () => {
      await takeBackUnfinished(systemd);
      const link = await completeLink(resolved, readLinks(), freePort);
      const parts = flatten(link);
      const ids = parts.map(({ id }) => id);
      const failure = await unfinishedDuring(ids, async () => {
        try {
          await install(parts, systemd);
        } catch (error) {
          await takeBack(ids, error as Error, systemd);
          return error;
        }
      });
      if (failure !== undefined) throw failure;
      return { id: ids[0] as string, url: endUrl(link.head) };
    });
  } finally {
    systemd.close();
  }
}

/**
 * The unit files that {@link createLink} would write now, and nothing else: it changes nothing.
 *
 * @throws as createLink, for what can be told beforehand
 */
export async function planLink(recipe: Link): Promise<UnitFile[]> {
  const link = await completeLink(await resolveLink(recipe), readLinks(), freePort);
  const [where, using] = [installation(), templates()];
  return flatten(link).flatMap((part) => renderLink(part, where, using));
}

async function takeBack(ids: string[], reason: Error, systemd: Systemd): Promise<void> {
  try {
    await takeAway(ids.toReversed(), systemd);
  } catch (error) {
    const too = (error as Error).message;
    throw new Error(
      `${reason.message}; taking it back failed too (${too}), the next create or delete tries again`,
    );
  }
}

/** Children first: a link is not to listen before what it leads to does. */
async function install(parts: NamedLink[], systemd: Systemd): Promise<void> {
  const [where, using] = [installation(), templates()];
  const since = Date.now();
  for (const part of parts.toReversed()) {
    for (const { name, text } of renderLink(part, where, using)) writeUnitFile(name, text);
    await refresh([socketUnit(part.id), serviceUnit(part.id)], systemd);
    try {
      await systemd.start(socketUnit(part.id));
    } catch (error) {
      throw error instanceof JobError ? await explain(error, part, since) : error;
    }
    await systemd.enable(socketUnit(part.id));
  }
}

/**
 * Has systemd know the files as they are. It reads a unit that it has not in memory by itself, so a reload, which reads
 * every unit of the machine anew, is needed only for one that is still there from an earlier link of the same id.
 */
async function refresh(units: string[], systemd: Systemd): Promise<void> {
  for (const unit of units) {
    const { load, needReload } = await systemd.state(unit);
    if (load !== 'loaded' || needReload) return systemd.reload();
  }
}

/** Why a socket did not start, from what systemd wrote about it and about the namespace that it needs. */
async function explain(error: JobError, { id, link: { head } }: NamedLink, since: number): Promise<Error> {
  const lines = await lastLines(error.unit, since);
  if (lines.some((line) => /Address already in use/.test(line))) {
    return new Error(`${describeEnd(head)} is in use already: stop what listens there, or take another port`);
  }
  const needed = netnsUnit(head.place);
  if (needed && error.result === 'dependency') lines.push(...(await lastLines(needed, since)));
  return new Error(
    `link "${id}" could not be started (${error.result}): ${lines.join(' / ') || 'the journal says nothing'}`,
  );
}
