import { parseRunArguments } from '../docker/run-arguments.js';
import { containerName } from '../docker/runs.js';
import { readUnitFile, unitFileNames } from '../systemd/unit-files.js';
import { idOfUnit, socketUnit } from '../units/names.js';
import { flatten, type NamedLink } from '../units/plan.js';
import { readLink, UnreadableLink } from '../units/read.js';
import { type Run, runsOf } from '../units/runs.js';

/** The links of this machine, in the order of their ids, each followed by its children, and those whose units somebody has edited beyond reading. */
export interface Links {
  links: NamedLink[];
  unreadable: { id: string; reason: string }[];
}

/** Reads all links from their units. */
export function readLinks(): Links {
  const found: Links = { links: [], unreadable: [] };
  for (const name of unitFileNames('wormhole-')) {
    const id = idOfUnit(name);
    if (id === undefined || name !== socketUnit(id)) continue;
    try {
      const stored = readLink(readUnitFile(name) ?? '');
      if (stored !== undefined && stored !== 'child')
        found.links.push(...flatten(stored.link, stored.options, stored));
    } catch (error) {
      if (!(error instanceof UnreadableLink)) throw error;
      found.unreadable.push({ id, reason: error.message });
    }
  }
  return found;
}

/** The ids of a link and of all that hang on it, the deepest first: the order in which to take them away. */
export function family(id: string, links: NamedLink[]): string[] {
  return [...links.filter((link) => link.parent === id).flatMap((child) => family(child.id, links)), id];
}

/** A container that a link starts, with the link. */
export type LinkRun = Run & { link: NamedLink };

/** The name of the container of a run. */
export function containerOf({ name, place }: Run): string {
  if (place.kind === 'container') return place.name;
  return containerName(name, place.kind === 'run' ? parseRunArguments(place.args) : {});
}

/** The containers that links start. */
export function runsIn(links: NamedLink[]): LinkRun[] {
  return links.flatMap((link) => runsOf(link).map((run) => ({ ...run, link })));
}
