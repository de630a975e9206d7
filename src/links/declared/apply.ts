import { isDeepStrictEqual } from 'node:util';
import pLimit from 'p-limit';
import type { Recipe } from '../../recipe/recipe.js';
import { type Links, readLinks } from '../../state/links.js';
import { withLock } from '../../state/lock.js';
import { type Systemd, withSystemd } from '../../systemd/systemd.js';
import type { DeclaredLink, FileFault } from '../../units/declaration.js';
import type { PlannedLink } from '../../units/plan.js';
import { changeLinks, type DropInChange } from '../change.js';
import {
  type CreatedLink,
  createLink,
  describeCreated,
  hasFarPart,
  installOrUndoAll,
  prepareRecipe,
} from '../create.js';
import { tellForwarder } from '../drain.js';
import { isWanted, planReplacement } from '../if-absent.js';
import { findReplaced, Irreplaceable, withFormerPort } from '../replace.js';
import { removeUnfinished } from '../unfinished.js';
import { contentOf, dropInChange, unitsOfLink } from './drop-ins.js';
import { describeLink } from './existing.js';
import { comparableTexts } from './text.js';

/** What is about to happen to a link, or would: the texts of its file before and after, to be compared by people. */
export interface LinkDifference {
  id: string;
  /** The file that describes it; undefined for standard input, and when no file does any more. */
  file?: string;
  /** '' for a link that there is not. */
  former: string;
  /** '' for a link that is deleted. */
  next: string;
}

/** Is told what happens. */
export interface ApplyReport {
  differs(difference: LinkDifference): void;
  created(link: CreatedLink): void;
  changed(link: CreatedLink): void;
  deleted(id: string, file: string): void;
  /** Something failed, or a file is wrong; it concerns nothing else. */
  failed(fault: FileFault): void;
  /** Something that people should know. */
  note(line: string): void;
}

/** What is applied. */
export interface ApplyRequest {
  links: DeclaredLink[];
  keyFile: string;
  /** Only tell what would happen. */
  dryRun: boolean;
  /** The ids of links that are deleted, or would be if more happened than telling; see `pruneLinks`. */
  pruned?: string[];
}

/** A link that differs from what there is, as far as it is known what it is to be. */
interface Difference {
  declared: DeclaredLink;
  /** What its recipe names is looked up. */
  recipe: Recipe;
}

/** Links whose names are looked up at the same time. */
const AT_ONCE = 8;

/**
 * Makes links what files say: creates those that are missing, and changes in place those that differ. Each one is what it
 * was, or all that the file says. Links that are already so are not touched, whatever of their containers or machines is not there.
 *
 * @throws Error when nothing can be done at all; what fails with one link is reported
 */
export function applyLinks(request: ApplyRequest, report: ApplyReport): Promise<void> {
  return withSystemd(async (systemd) => {
    if (!request.dryRun) await withLock('links', () => removeUnfinished(systemd));
    const remaining = withoutRoots(readLinks(), request.pruned ?? []);
    const different: Difference[] = [];
    const limit = pLimit(AT_ONCE);
    await Promise.all(
      request.links.map((declared) =>
        limit(() =>
          reporting(declared, report, async () => {
            if (await isAsDescribed(declared, remaining)) return;
            const show = request.dryRun ? 'fetch nothing' : () => {};
            different.push({ declared, recipe: await prepareRecipe({ ...declared, replace: true }, show) });
          }),
        ),
      ),
    );
    different.sort((one, other) => (one.declared.id < other.declared.id ? -1 : 1));
    const isFar = ({ declared, recipe }: Difference) =>
      hasFarPart(recipe) || remaining.links.some(({ id, far }) => id === declared.id && far !== undefined);
    const local = different.filter((difference) => !isFar(difference));
    if (request.dryRun) await planAll(local, remaining, report);
    else if (local.length > 0) await withLock('links', () => applyHere(local, systemd, report));
    for (const difference of different.filter(isFar)) await applyWithPart(difference, request, report);
  });
}

function withoutRoots({ links, unreadable }: Links, ids: string[]): Links {
  return { links: links.filter(({ root }) => !ids.includes(root)), unreadable };
}

/** Reports what `work` throws as a fault of the file. */
async function reporting(
  { at }: DeclaredLink,
  report: ApplyReport,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    report.failed({ ...at, message: (error as Error).message });
  }
}

/** Whether a link exists just so. What its recipe names need not be there for that. */
async function isAsDescribed(declared: DeclaredLink, existing: Links): Promise<boolean> {
  const family = await findReplaced(declared.recipe, existing);
  if (!family) return false;
  requireSameOrigin(declared);
  return (
    (await isWanted(declared, family, existing)) &&
    dropInChange(unitsOfLink(declared.id), declared, declared.id) === undefined
  );
}

/** A file takes over a link that somebody has typed; a label of a container does not. @throws Irreplaceable */
function requireSameOrigin({ id, label }: DeclaredLink): void {
  if (label === undefined || contentOf(unitsOfLink(id)).label !== undefined) return;
  throw new Irreplaceable(
    `link "${id}" exists, and was made from no label: it stays, and the label needs another name`,
  );
}

/** A link of which it is decided what becomes of it. */
interface Plan {
  declared: DeclaredLink;
  former: PlannedLink[];
  next: PlannedLink[];
  dropIns?: DropInChange;
}

/**
 * Decides what becomes of links, and reports it. They are planned together: a port that one of them gives up is free for another one,
 * unless the former cannot be changed.
 */
async function planAll(differences: Difference[], existing: Links, report: ApplyReport): Promise<Plan[]> {
  const failed = new Map<Difference, Error>();
  for (;;) {
    const before = failed.size;
    const plans = await planRound(differences, existing, failed);
    if (failed.size > before) continue;
    for (const [{ declared }, { message }] of failed) report.failed({ ...declared.at, message });
    for (const plan of plans) {
      const [root] = plan.former;
      const [next] = plan.next;
      if (!next) continue;
      const { id, file, extra } = plan.declared;
      report.differs({
        id,
        ...(file !== undefined && { file }),
        ...comparableTexts(
          root && describeLink(root),
          { recipe: next.link, options: next.options, extra },
          id,
        ),
      });
    }
    return plans;
  }
}

/** Plans all links that have not failed; what fails is added to these. */
async function planRound(
  differences: Difference[],
  existing: Links,
  failed: Map<Difference, Error>,
): Promise<Plan[]> {
  const open = differences.filter((difference) => !failed.has(difference));
  const replaced = new Set(open.map(({ declared }) => declared.id));
  const taken: Links = {
    links: existing.links.filter(({ root }) => !replaced.has(root)),
    unreadable: existing.unreadable,
  };
  const plans: Plan[] = [];
  for (const difference of open) {
    const { declared, recipe } = difference;
    try {
      const former = (await findReplaced(declared.recipe, existing)) ?? [];
      if (former.length > 0) requireSameOrigin(declared);
      const next = await planReplacement({ recipe, options: declared.options }, former, taken);
      const dropIns = dropInChange(unitsOfLink(declared.id), declared, declared.id);
      if (!dropIns && isDeepStrictEqual(next, former)) {
        taken.links.push(...former);
        continue;
      }
      taken.links.push(...next);
      plans.push({ declared, former, next, ...(dropIns && { dropIns }) });
    } catch (error) {
      failed.set(difference, error as Error);
    }
  }
  return plans;
}

/** Call it with the lock `links` held: another command may have changed links since they were compared. */
async function applyHere(differences: Difference[], systemd: Systemd, report: ApplyReport): Promise<void> {
  await removeUnfinished(systemd);
  const plans = await planAll(differences, readLinks(), report);
  const isNew = ({ former }: Plan) => former.length === 0;
  // First what exists, so that what it gives up is free for what is new.
  const changes = new Map(
    plans
      .filter((plan) => !isNew(plan))
      .map(({ former, next, dropIns, declared }) => [
        { former, next, ...(dropIns && { dropIns }) },
        declared,
      ]),
  );
  const { failures, left } = await changeLinks([...changes.keys()], systemd);
  for (const change of changes.keys()) {
    const [root] = change.next;
    if (root?.link.tails && !failures.has(change)) tellForwarder(root.id, root.drained ?? []);
  }
  for (const [change, declared] of changes) tell(declared, change.next, failures.get(change), report.changed);
  for (const line of left) report.note(line);
  const creations = new Map(
    plans
      .filter(isNew)
      .map(({ next, dropIns, declared }) => [
        { parts: next, ...(dropIns && { dropIns: dropIns.dropIns }) },
        declared,
      ]),
  );
  if (creations.size === 0) return;
  const failedCreations = await installOrUndoAll([...creations.keys()], systemd);
  for (const [creation, declared] of creations)
    tell(declared, creation.parts, failedCreations.get(creation), report.created);

  function tell(
    { at }: DeclaredLink,
    [root]: PlannedLink[],
    failure: Error | undefined,
    done: (link: CreatedLink) => void,
  ): void {
    if (failure) report.failed({ ...at, message: failure.message });
    else if (root) done(describeCreated(root.link));
  }
}

/** Applies a link with a part on another machine, which is asked while no lock is held. */
async function applyWithPart(
  { declared, recipe }: Difference,
  { keyFile, dryRun }: ApplyRequest,
  report: ApplyReport,
): Promise<void> {
  const { id, file, options, extra } = declared;
  await reporting(declared, report, async () => {
    const [root] = (await findReplaced(declared.recipe, readLinks())) ?? [];
    const next = { recipe: withFormerPort(recipe, root ? [root] : []), options, extra };
    report.differs({
      id,
      ...(file !== undefined && { file }),
      ...comparableTexts(root && describeLink(root), next, id),
    });
    if (dryRun) return;
    const dropIns = dropInChange(unitsOfLink(id), declared, id);
    const { link, isNew } = await createLink(
      { recipe: declared.recipe, options, keyFile, replace: true, ...(dropIns && { dropIns }) },
      () => {},
    );
    const { left = [], ...created } = link;
    for (const line of left) report.note(line);
    (isNew ? report.created : report.changed)(created);
  });
}
