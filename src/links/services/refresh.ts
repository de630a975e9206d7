import pLimit from 'p-limit';
import { KEY_FILE } from '../../api/key.js';
import {
  machinesOf,
  type ServiceMachine,
  servicesOf,
  withMachines,
  withOpenServices,
} from '../../recipe/services.js';
import { type FoundService, lookUpService } from '../../registry/look-up.js';
import { noteProblem, noteRefreshProblem } from '../../registry/problems.js';
import { readLinks } from '../../state/links.js';
import { withLock } from '../../state/lock.js';
import { unfinishedIds } from '../../state/unfinished.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import { type Systemd, withSystemd } from '../../systemd/systemd.js';
import { refreshLockName } from '../../units/names.js';
import type { PlannedLink } from '../../units/plan.js';
import { replaceLink } from '../replace.js';
import { knownMachines, linksWithServices } from './machines.js';

/** How many links are looked at, at once. */
const MOST_AT_ONCE = 16;

/**
 * Looks up the machines of the services that links lead to, and changes these links in place: a machine that has come gets a part,
 * one that has gone gets no new client, and goes with its last session. What a registry has said last stays when it is down.
 *
 * @param id of the link; undefined for all
 * @param log takes one line for the journal about each change, and about what has failed
 * @throws the error of the first link that could not be looked at, once all others have been
 */
export async function refreshServices(id: string | undefined, log: LogLine): Promise<void> {
  const ids = id === undefined ? linksWithServices().map((link) => link.id) : [id];
  const limit = pLimit(MOST_AT_ONCE);
  const results = await withSystemd((systemd) =>
    // A link that fails, or that a machine keeps waiting, holds up no other and breaks none off.
    Promise.allSettled(
      ids.map((one) =>
        // The timer of a link and the watch of the directory may come at the same time: the second one then finds nothing to do.
        limit(() => withLock(refreshLockName(one), () => refreshLink(one, { systemd, log }))),
      ),
    ),
  );
  const failed = results.find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
}

async function refreshLink(id: string, { systemd, log }: { systemd: Systemd; log: LogLine }): Promise<void> {
  const link = linksWithServices().find((one) => one.id === id);
  if (!link || unfinishedIds().includes(id)) return;
  const found = new Map<string, FoundService>();
  for (const name of servicesOf(link.link))
    found.set(name, await lookUpService(name, knownMachines(name, [link])));
  await reportProblems(link, found, log);
  await refresh(link, found, { systemd, log });
}

async function reportProblems(
  { id, link }: PlannedLink,
  found: ReadonlyMap<string, FoundService>,
  log: LogLine,
): Promise<void> {
  for (const name of servicesOf(link)) {
    const { problem, machines = [] } = found.get(name) ?? {};
    if (problem === undefined) noteProblem(id, name, undefined);
    else if (await noteIfThere(id, () => noteProblem(id, name, problem)))
      log(
        `link ${id}: service ${name}: ${problem}. The machines known before stay in use: ${textOf(machines)}.`,
        { event: 'failed', link: id },
      );
  }
}

/** Writes a note about a link. One that was deleted meanwhile leaves nothing. Returns whether the note is there and new. */
function noteIfThere(id: string, note: () => boolean): Promise<boolean> {
  return withLock('links', async () => readLinks().links.some((one) => one.id === id) && note());
}

async function refresh(
  { id, link, options, far }: PlannedLink,
  found: ReadonlyMap<string, FoundService>,
  { systemd, log }: { systemd: Systemd; log: LogLine },
): Promise<void> {
  const tails = link.tails ?? [];
  const changed = servicesOf(link).filter(
    (name) => textOf(machinesOf(tails, name)) !== textOf(found.get(name)?.machines ?? []),
  );
  if (changed.length === 0) {
    noteRefreshProblem(id, undefined);
    return;
  }
  const machines = new Map([...found].map(([name, service]) => [name, service.machines]));
  try {
    const family = readLinks().links.filter(({ root }) => root === id);
    const recipe = withMachines(withOpenServices(link), machines);
    const { left = [] } = await replaceLink(
      family,
      { recipe, options, keyFile: far?.keyFile ?? KEY_FILE, exactNames: true },
      systemd,
    );
    for (const line of left) log(`link ${id}: ${line}`, { event: 'failed', link: id });
  } catch (error) {
    const places = changed.map(
      (name) => `service ${name} is at ${textOf(found.get(name)?.machines ?? [])} now`,
    );
    const problem = `${places.join(', ')}, and ${(error as Error).message}`;
    if (await noteIfThere(id, () => noteRefreshProblem(id, problem)))
      log(`link ${id} stays as it is: ${problem}. It is tried again every 30 s while the link is in use.`, {
        event: 'failed',
        link: id,
      });
    return;
  }
  noteRefreshProblem(id, undefined);
  const now = readLinks().links.find((one) => one.id === id)?.link.tails ?? [];
  for (const name of changed) {
    const [before, after] = [tails, now].map((of) => textOf(machinesOf(of, name)));
    if (before !== after)
      log(`link ${id}: service ${name} is at ${after}; it was at ${before}.`, { event: 'moved', link: id });
  }
}

/** Machines for people: "10.0.0.1, 10.0.0.2 (weight 3), 10.0.0.4 (leaving)". */
export function textOf(machines: ServiceMachine[]): string {
  return machines
    .map(({ host, weight, leaving }) => {
      const notes = [...(weight === undefined ? [] : [`weight ${weight}`]), ...(leaving ? ['leaving'] : [])];
      return notes.length === 0 ? host : `${host} (${notes.join(', ')})`;
    })
    .join(', ');
}
