import { ensureImage } from '../docker/image.js';
import type { PullProgress } from '../docker/pull-progress.js';
import { parseRunArguments } from '../docker/run-arguments.js';
import { endUrl } from '../recipe/describe.js';
import { farthest, type Link } from '../recipe/link.js';
import { recipeText } from '../recipe/text.js';
import { connectSystemd, type Systemd } from '../systemd/systemd.js';
import {
  type CreateOptions,
  flatten,
  isEager,
  type NamedLink,
  type Owner,
  type Ties,
} from '../units/plan.js';
import { renderLink, type UnitFile } from '../units/render.js';
import { completeLink } from './complete.js';
import { farLinkOf, makeFarPart, newFarPart } from './far.js';
import { writeFarFile } from './far-file.js';
import { install } from './install.js';
import { installation, templates } from './installation.js';
import { readLinks } from './links.js';
import { withLock } from './lock.js';
import { owe, remindOfDebts } from './owed.js';
import { freePort } from './ports.js';
import { resolveLink } from './resolve.js';
import { takeAway } from './take-away.js';
import { takeBackFarPart } from './take-back-far.js';
import { tunnelToUndo } from './tunnel/undo.js';
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

/** The key file for the machines that a recipe names, and for whom the link is made, when that is another machine. */
export interface Circumstances {
  keyFile: string;
  owner?: Owner;
}

/**
 * Makes a link: looks up what it names, fetches the images it needs, has another machine make its part, writes its units,
 * starts what no connection is to start, and enables it for the next boot.
 *
 * Whatever it has made, but for images, it takes back when anything fails.
 *
 * @throws whatever was wrong, with a message of one line
 */
export async function createLink(
  recipe: Link,
  options: CreateOptions,
  show: ShowProgress,
  { keyFile, owner }: Circumstances,
): Promise<Created> {
  const resolved = await resolveLink(recipe);
  await fetchImages(resolved, options, show);
  const ties: Ties = {};
  if (farthest(resolved)) ties.far = newFarPart(keyFile);
  if (owner) ties.owner = owner;
  const systemd = await connectSystemd();
  try {
    if (!ties.far || !isEager(resolved)) return await make(resolved, options, ties, systemd);
    return await makeWithFarPart(resolved, options, { ...ties, far: ties.far }, systemd);
  } finally {
    await remindOfDebts(systemd);
    systemd.close();
  }
}

/**
 * The unit files that {@link createLink} would write on this machine now, and nothing else: it changes nothing. Nor does it
 * ask another machine.
 *
 * @throws as createLink, for what can be told beforehand
 */
export async function planLink(
  recipe: Link,
  options: CreateOptions,
  { keyFile }: Circumstances,
): Promise<UnitFile[]> {
  const link = await completeLink(await resolveLink(recipe), readLinks(), freePort);
  const [where, using] = [installation(), templates()];
  const ties = farthest(link) ? { far: newFarPart(keyFile) } : {};
  return flatten(link, options, ties).flatMap((part) => renderLink(part, where, using));
}

/** @param farAddress where the far end is, when it is known already */
function make(
  resolved: Link,
  options: CreateOptions,
  ties: Ties,
  systemd: Systemd,
  farAddress?: string,
): Promise<Created> {
  return withLock('links', async () => {
    await takeBackUnfinished(systemd);
    const { owner } = ties;
    const link = await completeLink(resolved, readLinks(), freePort, owner && `${owner.machine}-${owner.id}`);
    const parts = flatten(link, options, ties);
    const ids = parts.map(({ id }) => id);
    const failure = await unfinishedDuring(ids, async () => {
      try {
        if (farAddress !== undefined) writeFarFile((parts.at(-1) as NamedLink).id, { address: farAddress });
        await install(parts, systemd);
      } catch (error) {
        await takeBack(ids, error as Error, systemd);
        return error;
      }
    });
    if (failure !== undefined) throw failure;
    return { id: ids[0] as string, url: endUrl(link.head) };
  });
}

/**
 * The other machine makes its part first, so that there is nothing to take back here when it cannot. The lock is not held
 * meanwhile: it may take minutes, and it may need the lock, when the recipe leads back to this machine.
 */
async function makeWithFarPart(
  resolved: Link,
  options: CreateOptions,
  ties: Ties & Required<Pick<Ties, 'far'>>,
  systemd: Systemd,
): Promise<Created> {
  const planned = await completeLink(resolved, readLinks(), freePort);
  const link = farLinkOf(planned, ties.far, options);
  if (!link) throw new Error('the recipe has no part on another machine');
  const { peer } = link.link.child;
  const debt = { ...ties.far, peer, id: planned.id as string, recipe: recipeText(planned), until: 0 };
  const undoTunnel = await tunnelToUndo(link);
  const open = owe(debt);
  let made: Created;
  try {
    const address = await makeFarPart(link);
    made = await make(withPorts(resolved, planned), options, ties, systemd, address);
  } catch (error) {
    const reason = await takeBackFarPart(debt, open, error as Error);
    await undoTunnel().catch(({ message }: Error) => {
      throw new Error(
        `${reason.message}; taking the tunnel back failed too (${message}): wormhole tunnel-delete ${peer}`,
      );
    });
    throw reason;
  }
  open.settle();
  return made;
}

/** A link with the head ports of another: what was chosen once is not to be chosen again. */
function withPorts(link: Link, planned: Link): Link {
  const pinned: Link = { ...link, head: { ...link.head } };
  if (planned.head.port !== undefined) pinned.head.port = planned.head.port;
  if (link.child && link.child.peer === undefined && planned.child) {
    pinned.child = { ...link.child, link: withPorts(link.child.link, planned.child.link) };
  }
  return pinned;
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
