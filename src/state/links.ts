import { readUnitFile, unitFileNames } from '../systemd/unit-files.js';
import { idOfUnit, socketUnit } from '../units/names.js';
import { type PlannedLink, planLink } from '../units/plan.js';
import { readLink, UnreadableLink } from '../units/read.js';

/**
 * The links of this machine, in the order of their ids, each followed by its children; and those whose units somebody has
 * edited so that they cannot be read.
 */
export interface Links {
  links: PlannedLink[];
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
      if (stored !== undefined && stored !== 'child') found.links.push(...planLink(stored));
    } catch (error) {
      if (!(error instanceof UnreadableLink)) throw error;
      found.unreadable.push({ id, reason: error.message });
    }
  }
  return found;
}

/** The ids of a link and of all its descendants, the deepest first: the order in which to remove them. */
export function familyOf(id: string, links: PlannedLink[]): string[] {
  const children = links.filter((link) => link.parent === id);
  return [...children.flatMap((child) => familyOf(child.id, links)), id];
}
