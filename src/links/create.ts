import { ensureImage } from '../docker/image.js';
import type { PullProgress } from '../docker/pull-progress.js';
import { requireIpsec } from '../ipsec/capability.js';
import { endUrls } from '../recipe/describe.js';
import type { Link } from '../recipe/link.js';
import { isFar, type Recipe } from '../recipe/recipe.js';
import { linkRenderer } from '../state/installation.js';
import { readLinks } from '../state/links.js';
import { withLock } from '../state/lock.js';
import { startPendingDeletions } from '../state/pending-deletions.js';
import { markFinished, markUnfinished, unfinishedIds } from '../state/unfinished.js';
import { type Systemd, withSystemd } from '../systemd/systemd.js';
import {
  type CreateOptions,
  isEager,
  type LinkPlan,
  type Owner,
  type PlannedLink,
  planLink,
} from '../units/plan.js';
import { renderLink, type UnitFile } from '../units/render.js';
import { runsOf } from '../units/runs.js';
import { checkBalanceOptions } from './balance-options.js';
import type { DropInChange } from './change.js';
import { checkClientLimits } from './client-limits.js';
import { completeLink, requireUntaken, Taken } from './complete.js';
import { findVolumesIfKnown, removeNewVolumes } from './containers/volumes.js';
import { requireFinished } from './former-version.js';
import { freePort } from './free-port.js';
import { findPresent } from './if-absent.js';
import { installAll, type NewLink } from './install.js';
import { checkProxyOptions } from './proxy-options.js';
import { requireReachable } from './remote/far-head.js';
import { farTails, newFarPart } from './remote/far-part.js';
import { farPartsOf } from './remote/far-parts-of.js';
import { withFarParts } from './remote/with-far-parts.js';
import { remove } from './remove.js';
import { findReplaced, replaceLink, withFormerPort, without } from './replace.js';
import { type Naming, requireFreeNames, resolveRecipe } from './resolve.js';
import { finishAll, finishKilled, removeUnfinished } from './unfinished.js';
import { checkPathOptions } from './unix-paths.js';

/** Reports the progress of a pull, many times a second, and `done` at its end. */
export type ShowProgress = (progress: PullProgress | 'done') => void;

/** A link as it was created: its id, and the url of its head; `also` has those of its further listeners, never none. */
export interface CreatedLink {
  id: string;
  url: string;
  also?: string[];
  /** What is left of the link that it replaces, and which machines of its services have no part yet, a line each, for people; never none. */
  left?: string[];
}

/** What became of a request for a link: whether it is a new one, or else one that was there and stays, or is changed. */
export interface CreateOutcome {
  link: CreatedLink;
  isNew: boolean;
}

/** What a link is created from. */
export interface CreateRequest {
  recipe: Recipe;
  options: CreateOptions;
  /** Holds the key for the machines that the recipe names. */
  keyFile: string;
  /** The link of another machine that this one is the far part of. */
  owner?: Owner;
  /** The id of the machine that has asked for it. */
  creator?: string;
  /** Whether the recipe was typed some time ago; see {@link resolveRecipe}. Default false. */
  exactNames?: boolean;
  /** Whether a link of the same id is changed in place. Default false: then its id is taken. */
  replace?: boolean;
  /** Whether a link that is there already, and just so, is left as it is. Default false: then its id is taken. */
  ifAbsent?: boolean;
  /** The drop-ins of its units, if a file describes it. */
  dropIns?: DropInChange;
}

/**
 * Creates a link: looks up what its recipe names, fetches the images it needs, has another machine create its part, writes
 * its units, starts what is not started by a connection, and enables it for the next boot.
 *
 * When anything fails, it removes all that it has created, except images.
 *
 * @throws Error with a message of one line
 */
export async function createLink(request: CreateRequest, show: ShowProgress): Promise<CreateOutcome> {
  const { options, keyFile, owner, creator, exactNames = false, replace = false, dropIns } = request;
  const { ifAbsent = false } = request;
  // A link is compared with what it is, and not with what another command is making of it, or has made until it was killed.
  if (replace || ifAbsent) await finishAll();
  else await finishKilled();
  const present = ifAbsent && (await findFinished(request, { isResolved: false }));
  if (present) return { link: describeCreated(present.link), isNew: false };
  const recipe = await prepareRecipe(request, show);
  const far = hasFarPart(recipe) ? newFarPart(keyFile) : undefined;
  return withSystemd(async (systemd) => {
    try {
      const same = ifAbsent && (await findFinished({ recipe, options }, { isResolved: true }));
      if (same) return { link: describeCreated(same.link), isNew: false };
      const family = replace ? await findReplaced(recipe, readLinks()) : undefined;
      if (family) {
        const replacement = { recipe, options, keyFile, exactNames, ...(dropIns && { dropIns }) };
        return { link: await replaceLink(family, replacement, systemd), isNew: false };
      }
      const plan = {
        options,
        ...(owner && { owner }),
        ...(creator !== undefined && { creator }),
        ...(far && { far }),
        ...(dropIns && { dropIns: dropIns.dropIns }),
      };
      if (!far || !isEager(recipe)) return { link: await createHere(recipe, plan, systemd), isNew: true };
      const link = await completeLink(recipe, completion(owner));
      const withTails = { ...far, ...farTails(link) };
      const created = await createOnBothMachines({ ...plan, link, far: withTails, exactNames }, systemd);
      return { link: created, isNew: true };
    } catch (error) {
      // Another command may have created it meanwhile.
      if (!ifAbsent || !(error instanceof Taken)) throw error;
      const same = await findFinished({ recipe, options }, { isResolved: true });
      if (!same) throw error;
      return { link: describeCreated(same.link), isNew: false };
    } finally {
      await startPendingDeletions(systemd);
    }
  });
}

/**
 * What `create --if-absent` finds: no link that another command is at work on, or was when it was killed.
 *
 * @throws EngineDown when the link is half created, deleted or changed, and that cannot be ended
 */
async function findFinished(...wanted: Parameters<typeof findPresent>): Promise<PlannedLink | undefined> {
  let present = await findPresent(...wanted);
  if (present && unfinishedIds().includes(present.id)) {
    await finishKilled();
    present = await findPresent(...wanted);
  }
  if (present) await requireFinished(present.id);
  return present;
}

/**
 * Makes sure that a link can be created of a recipe, as far as this can be told beforehand, and fetches the images it needs. With
 * `replace` or `ifAbsent`, the names that containers of the existing link have are no obstacle.
 *
 * @returns the recipe with what it names looked up
 * @throws RecipeError; as resolveRecipe and ensureImage
 */
export async function prepareRecipe(
  {
    recipe,
    options,
    exactNames = false,
    replace = false,
    ifAbsent = false,
  }: Pick<CreateRequest, 'recipe' | 'options' | 'exactNames' | 'replace' | 'ifAbsent'>,
  show: ShowProgress | 'fetch nothing',
): Promise<Recipe> {
  checkProxyOptions(recipe, options);
  hasFarPart(recipe);
  const resolved = await resolveRecipe(recipe, { exactNames });
  await requireFreeNames(resolved, replace || ifAbsent ? await findReplaced(resolved, readLinks()) : []);
  checkClientLimits(resolved, options);
  checkBalanceOptions(resolved, options);
  await checkPathOptions(resolved, options);
  if (hasTunnel(resolved)) await requireIpsec();
  if (show !== 'fetch nothing') await fetchImages(resolved, options, show);
  return resolved;
}

/**
 * The unit files that {@link createLink} would write on this machine now. Changes nothing, and asks no other machine.
 *
 * @throws as createLink, for what can be told beforehand
 */
export async function previewLink({
  recipe,
  options,
  keyFile,
  owner,
  replace = false,
}: CreateRequest): Promise<UnitFile[]> {
  checkProxyOptions(recipe, options);
  const resolved = await resolveRecipe(recipe, { exactNames: false });
  const family = (replace && (await findReplaced(resolved, readLinks()))) || [];
  await requireFreeNames(resolved, family);
  checkClientLimits(resolved, options);
  checkBalanceOptions(resolved, options);
  await checkPathOptions(resolved, options);
  const { existing: others, ...rest } = completion(owner);
  const link = await completeLink(withFormerPort(resolved, family), {
    ...rest,
    existing: without(family, others),
  });
  const far = hasFarPart(recipe) ? { ...newFarPart(keyFile), ...farTails(link) } : undefined;
  const renderer = await linkRenderer();
  return planLink({ link, options, ...(far && { far }) }).flatMap((part) => renderLink(part, renderer));
}

function completion(owner: Owner | undefined) {
  const name = owner && `${owner.machine}-${owner.id}`;
  return { existing: readLinks(), choosePort: freePort, ...(name !== undefined && { name }) };
}

/** Whether a tunnel of this machine is a part of the recipe. */
function hasTunnel({ child, tails = [] }: Recipe): boolean {
  if (tails.some((tail) => tail.child && tail.child.kind !== 'remote')) return true;
  if (child === undefined) return false;
  return isFar(child) ? child.kind !== 'remote' : hasTunnel(child.link);
}

/** Whether a recipe has a part on another machine. @throws RecipeError when this one could not reach it */
export function hasFarPart({ child, tails = [] }: Recipe): boolean {
  const far = tails.flatMap((tail) => tail.child ?? []);
  for (const one of far) requireReachable(one);
  if (far.length > 0) return true;
  if (child === undefined) return false;
  if (!isFar(child)) return hasFarPart(child.link);
  requireReachable(child);
  return true;
}

/** A link to be planned, and the drop-ins of its units. */
type NewPlan = LinkPlan & Pick<NewLink, 'dropIns'>;

function createHere(recipe: Recipe, plan: Omit<NewPlan, 'link'>, systemd: Systemd): Promise<CreatedLink> {
  return withLock('links', async () => {
    await removeUnfinished(systemd);
    const link = await completeLink(recipe, completion(plan.owner));
    return installOrUndo({ ...plan, link }, systemd);
  });
}

/**
 * The other machine creates its part first, so that nothing has to be undone here when it cannot. The lock is not held
 * meanwhile: it may take minutes, and it may need the lock, when the recipe leads back to this machine.
 */
async function createOnBothMachines(
  { exactNames, ...plan }: NewPlan & Required<Pick<LinkPlan, 'far'>> & Naming,
  systemd: Systemd,
): Promise<CreatedLink> {
  const { link, options } = plan;
  const parts = farPartsOf(planLink(plan)).filter(({ isEager }) => isEager);
  const left: string[] = [];
  const note = (line: string) => left.push(line);
  const created = await withFarParts(parts, { options, exactNames, note }, (tell) =>
    withLock('links', async () => {
      await removeUnfinished(systemd);
      requireUntaken(link, readLinks());
      return installOrUndo(plan, systemd, tell);
    }),
  );
  return { ...created, ...(left.length > 0 && { left }) };
}

/** @param prepare runs before the units are written; what it does is undone with them */
async function installOrUndo(
  plan: NewPlan,
  systemd: Systemd,
  prepare: () => void = () => {},
): Promise<CreatedLink> {
  const { dropIns } = plan;
  const link = { parts: planLink(plan), ...(dropIns && { dropIns }) };
  const failure = (await installOrUndoAll([link], systemd, prepare)).get(link);
  if (failure) throw failure;
  return describeCreated(plan.link);
}

/** What `wormhole create` prints of a link. */
export function describeCreated({ id, head }: Link): CreatedLink {
  const [url = '', ...also] = endUrls(head);
  return { id, url, ...(also.length > 0 && { also }) };
}

/**
 * Installs links, and removes all that exists of each one that cannot be installed. Call it with the lock `links` held.
 *
 * @param prepare runs before the units are written; what it does is undone with them
 * @returns why links could not be installed
 */
export async function installOrUndoAll(
  links: NewLink[],
  systemd: Systemd,
  prepare: () => void = () => {},
): Promise<Map<NewLink, Error>> {
  const hasRuns = links.some(({ parts }) => parts.some(({ link }) => runsOf(link).length > 0));
  const volumes = hasRuns ? (await findVolumesIfKnown())?.map(({ name }) => name) : undefined;
  const idsOf = ({ parts }: NewLink) => parts.map(({ id }) => id);
  markUnfinished(links.flatMap(idsOf), volumes);
  let failures: Map<NewLink, Error>;
  try {
    prepare();
    failures = await installAll(links, systemd);
  } catch (error) {
    failures = new Map(links.map((link) => [link, error as Error]));
  }
  for (const [link, reason] of failures) {
    try {
      await undo(idsOf(link), { reason, volumes }, systemd);
    } catch (error) {
      failures.set(link, error as Error);
      continue;
    }
    markFinished(idsOf(link));
  }
  markFinished(links.filter((link) => !failures.has(link)).flatMap(idsOf));
  return failures;
}

/** @param volumes those that there were before, if new ones may have been made */
async function undo(
  ids: string[],
  { reason, volumes }: { reason: Error; volumes: string[] | undefined },
  systemd: Systemd,
): Promise<void> {
  try {
    await remove(ids.toReversed(), systemd);
    if (volumes) await removeNewVolumes(ids, volumes);
  } catch (error) {
    throw new Error(
      `${reason.message}; undoing it failed too (${(error as Error).message}), the next create or delete tries again`,
    );
  }
}

/** Fetches the images of all containers that the link runs here, so that the first client does not wait for them. */
async function fetchImages(recipe: Recipe, options: CreateOptions, show: ShowProgress): Promise<void> {
  const { head, child, tails = [] } = recipe;
  const ends = [head, ...[recipe, ...tails].flatMap(({ tail }) => tail ?? [])];
  for (const { place } of ends) {
    if (place.kind !== 'run') continue;
    const { image, pull, platform } = place.request;
    try {
      await ensureImage({ image, policy: pull ?? options.pull, platform, onProgress: show });
    } finally {
      show('done');
    }
  }
  if (child && !isFar(child)) await fetchImages(child.link, options, show);
}
