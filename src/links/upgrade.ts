import { join } from 'node:path';
import { createCounters } from '../state/counters.js';
import { installation, linkRenderer, makeForwarderRoot, tunnelTemplate } from '../state/installation.js';
import { familyOf, type Links, readLinks } from '../state/links.js';
import { withLock } from '../state/lock.js';
import { readTunnels } from '../state/tunnels.js';
import { makeDirectory, writeAtomically } from '../system/files.js';
import { type Systemd, withSystemd } from '../systemd/systemd.js';
import { foreignUnit, readUnitFile, replaceUnitFile, UNIT_DIR } from '../systemd/unit-files.js';
import { linkDirectory, socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { renderLink, type UnitFile } from '../units/render.js';
import { renderTunnel, type Tunnel } from '../units/tunnel.js';
import { planUpgrade, type UnitUpgrade } from '../units/upgrade.js';
import { NoSuchLink } from './delete.js';
import { forgetFailedForwarder } from './failed-forwarder.js';
import { isStopped } from './is-stopped.js';
import { removeUnfinished } from './unfinished.js';

/** Where the unit files go that an upgrade has replaced although somebody may have edited them. */
export const REPLACED_DIR = '/var/lib/wormhole/replaced';

/** What an upgrade has done. */
export interface Upgrade {
  /** The units that are written as this version renders them. */
  written: string[];
  /** Those among them of which a copy is kept in {@link REPLACED_DIR}. */
  replaced: string[];
  /** The units that somebody has edited, and that stay as they are. */
  left: EditedUnit[];
  /** The links and tunnels whose units cannot be read, so that nothing can be rendered. */
  unreadable: { unit: string; reason: string }[];
}

/** A unit that somebody has edited, and what this version would write. */
export interface EditedUnit {
  unit: string;
  path: string;
  current: string;
  rendered: string;
}

/**
 * Which links to upgrade, the default being all links and tunnels, and whether to replace units that have been edited. With
 * `untouchedOnly`, those stay too of which nobody can tell whether they have been edited.
 */
export interface UpgradeRequest {
  ids?: string[];
  force?: boolean;
  untouchedOnly?: boolean;
}

/** A unit that is not as this version renders it, and what an upgrade does with it; `current` is undefined if its file is missing. */
export interface DifferingUnit {
  unit: string;
  current: string | undefined;
  rendered: string;
  plan: Exclude<UnitUpgrade, 'keep'>;
}

/** The units of links and tunnels that are not as this version renders them. It changes nothing. */
export async function differingUnits(links: PlannedLink[], tunnels: Tunnel[]): Promise<DifferingUnit[]> {
  const renderer = await linkRenderer();
  const template = await tunnelTemplate();
  return differing(
    [
      ...links.flatMap((link) => renderLink(link, renderer)),
      ...tunnels.map((tunnel) => renderTunnel(tunnel, installation(), template)),
    ],
    false,
  );
}

/**
 * Renders the units of existing links and tunnels again, which an earlier version of the program may have written. What listens
 * goes on listening, and sessions go on: systemd uses a unit as it is now when it starts it the next time. Links that should
 * listen and do not, because the program was uninstalled, are started.
 *
 * The id of a child stands for that child and its own children.
 *
 * @throws NoSuchLink; the system call's error when a file cannot be written
 */
export function upgradeUnits({
  ids,
  force = false,
  untouchedOnly = false,
}: UpgradeRequest): Promise<Upgrade> {
  return withSystemd((systemd) =>
    withLock('links', async () => {
      await removeUnfinished(systemd);
      const links = readLinks();
      const wanted = selectLinks(links, ids);
      const renderer = await linkRenderer();
      const files = wanted.flatMap((link) => renderLink(link, renderer));
      const upgrade = newUpgrade(links, ids);
      const options = { force, untouchedOnly };
      writeUnits(files, options, upgrade);
      if (ids === undefined) await withLock('tunnels', () => upgradeTunnels(options, upgrade));
      // Also when nothing differs: an upgrade that was killed may have written all of them.
      await systemd.reloadAll();
      makeForwarderRoot();
      for (const link of wanted) {
        createCounters(link.id);
        makeDirectory(linkDirectory(link.id));
        // It may have failed for want of a program.
        await forgetFailedForwarder(link.id, systemd);
        await startIfClosed(link, systemd);
      }
      return upgrade;
    }),
  );
}

function newUpgrade({ unreadable }: Links, ids: string[] | undefined): Upgrade {
  const concerned = unreadable.filter(({ id }) => ids === undefined || ids.includes(id));
  return {
    written: [],
    replaced: [],
    left: [],
    unreadable: concerned.map(({ id, reason }) => ({ unit: socketUnit(id), reason })),
  };
}

function selectLinks({ links, unreadable }: Links, ids: string[] | undefined): PlannedLink[] {
  if (ids === undefined) return links;
  const unknown = ids.find((id) => ![...links, ...unreadable].some((link) => link.id === id));
  if (unknown !== undefined) throw new NoSuchLink(`no link "${unknown}": see wormhole list`);
  const wanted = new Set(ids.flatMap((id) => familyOf(id, links)));
  return links.filter(({ id }) => wanted.has(id));
}

async function upgradeTunnels(options: WriteOptions, upgrade: Upgrade): Promise<void> {
  const { tunnels, unreadable } = readTunnels();
  upgrade.unreadable.push(...unreadable);
  const template = await tunnelTemplate();
  writeUnits(
    tunnels.map((tunnel) => renderTunnel(tunnel, installation(), template)),
    options,
    upgrade,
  );
}

type WriteOptions = Required<Pick<UpgradeRequest, 'force' | 'untouchedOnly'>>;

function differing(files: UnitFile[], force: boolean): DifferingUnit[] {
  return files.flatMap(({ name, text: rendered }) => {
    const current = readUnitFile(name);
    const plan = planUpgrade({ current, rendered, isForeign: foreignUnit(name) !== undefined, force });
    return plan === 'keep' ? [] : { unit: name, current, rendered, plan };
  });
}

function writeUnits(files: UnitFile[], { force, untouchedOnly }: WriteOptions, upgrade: Upgrade): void {
  for (const { unit: name, current, rendered, plan } of differing(files, force)) {
    if (plan === 'leave' || (plan === 'replace' && untouchedOnly)) {
      upgrade.left.push({ unit: name, path: join(UNIT_DIR, name), current: current ?? '', rendered });
      continue;
    }
    if (plan === 'replace') {
      makeDirectory(REPLACED_DIR);
      // It may hold what only root may see.
      writeAtomically(join(REPLACED_DIR, name), current ?? '', { mode: 0o600 });
      upgrade.replaced.push(name);
    }
    replaceUnitFile(name, rendered);
    upgrade.written.push(name);
  }
}

/** The start is queued: a link whose container is not there waits for it, and the journal says so. */
async function startIfClosed(link: PlannedLink, systemd: Systemd): Promise<void> {
  const unit = socketUnit(link.id);
  if (link.openedBy !== undefined || (await isStopped(link, systemd))) return;
  if ((await systemd.state(unit)).active === 'inactive') await systemd.queue(unit);
}
