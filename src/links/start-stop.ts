import { acknowledgeLoss } from '../state/kept-containers.js';
import { familyOf, readLinks } from '../state/links.js';
import { withLock } from '../state/lock.js';
import { type Systemd, withSystemd } from '../systemd/systemd.js';
import { unlinkUnitFiles } from '../systemd/unit-files.js';
import { serviceUnit, socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { runsOf } from '../units/runs.js';
import { stopRun } from './containers/run.js';
import { IsChild, NoSuchLink } from './delete.js';
import { forgetFailedForwarder } from './failed-forwarder.js';
import { requireFinished } from './former-version.js';
import { startUnits } from './install.js';
import { removeUnfinished } from './unfinished.js';

/** A command says itself what it has done. */
const NO_JOURNAL = { log: () => {}, warn: () => {} };

/** The link has no trigger, so nothing of it can sleep. */
export class NothingToSleep extends Error {}

/**
 * Stops a link with its children until {@link startLink}, also across reboots: its heads are closed, its sessions reset, and
 * what it runs is stopped. That the units are not enabled is the only record of it.
 *
 * @throws NoSuchLink, IsChild; JobError when systemd cannot stop a unit; EngineDown when it runs containers
 */
export function stopLink(id: string): Promise<void> {
  return withFamily(id, async (family, systemd) => {
    unlinkUnitFiles(family.flatMap(bootUnits));
    for (const part of family) await systemd.stop(socketUnit(part.id));
    await putToSleep(family, systemd);
  });
}

/**
 * Starts a link that was stopped, and enables it for the next boot. What is known of lost containers of it counts as
 * acknowledged.
 *
 * @throws NoSuchLink, IsChild; as install
 */
export function startLink(id: string): Promise<void> {
  return withFamily(id, async (family, systemd) => {
    await startUnits(family, systemd);
    for (const { name } of family.flatMap(({ link }) => runsOf(link))) acknowledgeLoss(name);
  });
}

/**
 * Ends what the triggers of a link have started, as its idleness would: its sessions are reset, its containers stopped. The
 * next connection starts them again.
 *
 * @throws NoSuchLink, IsChild, NothingToSleep; JobError; EngineDown
 */
export function sleepLink(id: string): Promise<void> {
  return withFamily(id, async (family, systemd) => {
    if (!family.some(({ link }) => link.trigger))
      throw new NothingToSleep(
        `link "${id}" has no trigger, so nothing of it sleeps: wormhole stop ${id} closes it`,
      );
    await putToSleep(family, systemd);
  });
}

/** Runs `work` with the parts of a link, the parent first, while no other command changes links. */
function withFamily(
  id: string,
  work: (family: PlannedLink[], systemd: Systemd) => Promise<void>,
): Promise<void> {
  return withSystemd((systemd) =>
    withLock('links', async () => {
      await removeUnfinished(systemd);
      const { links } = readLinks();
      const link = links.find((candidate) => candidate.id === id);
      if (!link) throw new NoSuchLink(`no link "${id}": see wormhole list`);
      if (link.parent !== undefined)
        throw new IsChild(`link "${id}" is a part of link "${link.root}": name that one`);
      await requireFinished(id);
      const ids = familyOf(id, links);
      await work(
        links.filter((part) => ids.includes(part.id)),
        systemd,
      );
    }),
  );
}

/** The units that are enabled for the next boot. */
function bootUnits({ id, openedBy, link }: PlannedLink): string[] {
  if (openedBy !== undefined) return [];
  return [socketUnit(id), ...(link.trigger ? [] : runsOf(link).map(({ unit }) => unit))];
}

/** Stops the forwarders and the containers of a link. */
async function putToSleep(family: PlannedLink[], systemd: Systemd): Promise<void> {
  for (const part of family) {
    await systemd.stop(serviceUnit(part.id));
    await forgetFailedForwarder(part.id, systemd);
    for (const { name, unit } of runsOf(part.link)) {
      await systemd.stop(unit);
      // Without a span of idleness, the unit has no ExecStop=.
      await stopRun(name, NO_JOURNAL);
    }
  }
}
