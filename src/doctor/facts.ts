import { engineRuns } from '../links/containers/require-engine.js';
import { readLinks } from '../state/links.js';
import { isLocked } from '../state/lock.js';
import { readTunnels, type Tunnels } from '../state/tunnels.js';
import { unfinishedIds } from '../state/unfinished.js';
import type { LoadedUnit, Systemd } from '../systemd/systemd.js';
import { unitFileNames } from '../systemd/unit-files.js';
import { idOfUnit, socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import type { Finding } from './finding.js';

/** What all checks look at, read once. */
export interface Facts {
  systemd: Systemd;
  /** The links with their children, without those that a command is creating, changing or deleting at this moment. */
  links: PlannedLink[];
  unreadable: { id: string; reason: string }[];
  /** The ids of all links, unreadable ones and children included. */
  ids: ReadonlySet<string>;
  /** The ids of links that are open from boot on, as far as nobody has stopped them. */
  open: ReadonlySet<string>;
  tunnels: Tunnels;
  /** The units of Wormhole that systemd has in memory. */
  units: ReadonlyMap<string, LoadedUnit>;
  /** Whether a command is changing links at this moment. */
  isBusy: boolean;
  /** Whether the Docker engine runs or starts; undefined when nothing here needs it. */
  engineRuns: boolean | undefined;
}

/** One thing that is looked at: a name, and what finds what is wrong with it. It changes nothing. */
export interface Check {
  name: string;
  find(facts: Facts): Promise<Omit<Finding, 'check'>[]>;
}

/** Reads what the checks look at. @throws Error when systemd is unreachable */
export async function readFacts(systemd: Systemd): Promise<Facts> {
  const isBusy = isLocked('links');
  const { links: all, unreadable } = readLinks();
  const changing = new Set(isBusy ? unfinishedIds() : []);
  const links = all.filter(({ id, root }) => !changing.has(id) && !changing.has(root));
  const enabled = new Set<string>();
  for (const root of new Set(links.map((link) => link.root)))
    if (await systemd.isEnabled(socketUnit(root))) enabled.add(root);
  return {
    systemd,
    links,
    unreadable,
    ids: new Set(unitFileNames('wormhole-').flatMap((name) => idOfUnit(name) ?? [])),
    open: new Set(
      links.filter(({ root, openedBy }) => openedBy === undefined && enabled.has(root)).map(({ id }) => id),
    ),
    tunnels: readTunnels(),
    units: await systemd.loaded(['wormhole*']),
    isBusy,
    engineRuns: links.some(needsEngine) ? await engineRuns() : undefined,
  };
}

/** Whether one of the ends of a link is in a container. */
export function needsEngine({ link }: PlannedLink): boolean {
  return [link.head, link.tail].some((end) => end?.place.kind === 'container' || end?.place.kind === 'run');
}
