import { ensureImage } from '../docker/image.js';
import type { PullProgress } from '../docker/pull-progress.js';
import { parseRunArguments } from '../docker/run-arguments.js';
import { endUrl } from '../recipe/describe.js';
import type { Link } from '../recipe/link.js';
import { lastLines } from '../systemd/journal.js';
import { connectSystemd, JobError, type Systemd } from '../systemd/systemd.js';
import { writeUnitFile } from '../systemd/unit-files.js';
import { netnsUnit, socketUnit } from '../units/names.js';
import { type CreateOptions, flatten, type NamedLink } from '../units/plan.js';
import { describeEnd, renderLink, type UnitFile } from '../units/render.js';
import { runsOf } from '../units/runs.js';
import { completeLink } from './complete.js';
import { installation, templates } from './installation.js';
import { readLinks } from './links.js';
import { withLock } from './lock.js';
import { freePort } from './ports.js';
import { resolveLink } from './resolve.js';
import { takeAway } from './take-away.js';
import { takeBackUnfinished, unfinishedDuring } from './unfinished.js';

/** How far the pull of an image is. */
export type Progress = PullProgress;

/** Is told how far a pull is, many times a second, and `done` at its end. */
export type ShowProgress = (progress: Progress | 'done') => void;

/** A link as it was made: its id, and the url of its head. */
export interface Created {
  id: string;
  url: string;
}

/**
 * Makes a link: looks up what it names, fetches the images it needs, writes its units, starts what no connection is to
 * start, and enables it for the next boot.
 *
 * Whatever it has made, but for images, it takes back when anything fails.
 *
 * @throws whatever was wrong, with a message of one line
 */
export async function createLink(recipe: Link, options: CreateOptions, show: ShowProgress): Promise<Created> {
  const resolved = await resolveLink(recipe);
  await fetchImages(resolved, options, show);
  const systemd = await connectSystemd();
  try {
    return await withLock('links', async () => {
      await takeBackUnfinished(systemd);
      const link = await completeLink(resolved, readLinks(), freePort);
      const parts = flatten(link, options);
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
export async function planLink(recipe: Link, options: CreateOptions): Promise<UnitFile[]> {
  const link = await completeLink(await resolveLink(recipe), readLinks(), freePort);
  const [where, using] = [installation(), templates()];
  return flatten(link, options).flatMap((part) => renderLink(part, where, using));
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
  const files = parts.flatMap((part) => renderLink(part, where, using));
  for (const { name, text } of files.toReversed()) writeUnitFile(name, text);
  await refresh(
    files.map(({ name }) => name),
    systemd,
  );
  for (const part of parts.toReversed()) {
    if (part.openedBy !== undefined) continue;
    const atOnce = part.link.trigger ? [] : runsOf(part).map((run) => run.unit);
    for (const unit of [socketUnit(part.id), ...atOnce]) {
      try {
        await systemd.start(unit);
      } catch (error) {
        throw error instanceof JobError ? await explain(error, part, since) : error;
      }
      await systemd.enable(unit);
    }
  }
}

/** Has the images of all containers here that the link is to run, so that the first client need not wait for them. */
async function fetchImages(link: Link, options: CreateOptions, show: ShowProgress): Promise<void> {
  for (const end of [link.head, ...(link.tail ? [link.tail] : [])]) {
    if (end.place.kind !== 'run') continue;
    const { image, pull, platform } = parseRunArguments(end.place.args);
    try {
      await ensureImage(image, pull ?? options.pull, platform, show);
    } finally {
      show('done');
    }
  }
  if (link.child && link.child.peer === undefined) await fetchImages(link.child.link, options, show);
}

/**
 * Has systemd know the files as they are. It reads a unit that it has not in memory by itself, so a reload, which reads
 * every unit of the machine anew, is needed only for one that is still there from an earlier link of the same id.
 */
async function refresh(units: string[], systemd: Systemd): Promise<void> {
  for (const unit of units) {
    const { load, needReload } = await systemd.state(unit);
    if (load === 'loaded' && !needReload) continue;
    await systemd.reloadAll();
    break;
  }
  for (const unit of units) {
    const { load } = await systemd.state(unit);
    if (load !== 'loaded')
      throw new Error(`systemd does not take ${unit} (${load}): journalctl -b | grep ${unit}`);
  }
}

/** Why a unit did not start, from what it and systemd wrote about it and about the namespace that it needs. */
async function explain(error: JobError, { id, link: { head } }: NamedLink, since: number): Promise<Error> {
  const lines = await lastLines(error.unit, since);
  if (lines.some((line) => /Address already in use/.test(line))) {
    return new Error(`${describeEnd(head)} is in use already: stop what listens there, or take another port`);
  }
  const needed = netnsUnit(head.place);
  if (needed && error.result === 'dependency') lines.push(...(await lastLines(needed, since)));
  // A program's own words say more than systemd's that it has failed.
  const own = lines.find((line) => line.startsWith('wormhole: '))?.slice('wormhole: '.length);
  const said = own ?? (lines.join(' / ') || 'the journal says nothing');
  return new Error(`link "${id}" could not be started (${error.result}): ${said}`);
}
