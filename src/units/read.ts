import type { Link } from '../recipe/link.js';
import { recipeFromText } from '../recipe/text.js';
import { type CreateOptions, DEFAULT_OPTIONS, type Ties } from './plan.js';

/** A unit file that says it is a link's, and does not hold what a link's must. */
export class UnreadableLink extends Error {}

/** What the socket of a created link says of it. */
export interface StoredLink extends Ties {
  id: string;
  link: Link;
  options: CreateOptions;
}

/**
 * Reads a link back from the text of its socket unit: the opposite of rendering.
 *
 * @returns the link; `child` for the socket of one that hangs on another, whose recipe has it; undefined when the file
 *   has no [X-Wormhole] section, and so is not a link's
 * @throws UnreadableLink when the section lacks a setting, or holds one that cannot be read
 */
export function readLink(text: string): StoredLink | 'child' | undefined {
  const settings = section(text, 'X-Wormhole');
  if (settings === undefined) return undefined;
  if (settings.has('Parent')) return 'child';
  const id = settings.get('Id');
  const recipe = settings.get('Recipe');
  if (id === undefined || recipe === undefined) throw new UnreadableLink('[X-Wormhole] lacks Id= or Recipe=');
  try {
    return { id, link: recipeFromText(recipe), options: readOptions(settings), ...readTies(settings) };
  } catch (error) {
    throw new UnreadableLink(`[X-Wormhole] cannot be read: ${(error as Error).message}`);
  }
}

function readOptions(settings: Map<string, string>): CreateOptions {
  const startTimeout = Number(settings.get('StartTimeout') ?? DEFAULT_OPTIONS.startTimeout);
  const pull = settings.get('Pull') ?? DEFAULT_OPTIONS.pull;
  if (!(startTimeout > 0)) throw new Error(`StartTimeout=${startTimeout} is not a number of seconds`);
  if (pull !== 'never' && pull !== 'missing' && pull !== 'always') throw new Error(`Pull=${pull} is unknown`);
  return { startTimeout, pull };
}

function readTies(settings: Map<string, string>): Ties {
  const all = (names: string[]) => {
    const values = names.map((name) => settings.get(name));
    if (values.every((value) => value === undefined)) return undefined;
    if (values.includes(undefined)) throw new Error(`of ${names.join('=, ')}= only some are there`);
    return values as string[];
  };
  const far = all(['Far', 'KeyFile']);
  const owner = all(['Owned', 'OwnerId', 'Owner', 'Allow']);
  const ties: Ties = {};
  if (far) ties.far = { key: far[0] as string, keyFile: far[1] as string };
  if (owner) {
    const [key, id, machine, address] = owner as [string, string, string, string];
    const tunnel = settings.get('ThroughTunnel');
    ties.owner = { key, id, machine, address, ...(tunnel === undefined ? {} : { tunnel }) };
  }
  return ties;
}

/** The settings of one section of a unit file (systemd.syntax(7)); undefined when the section is not there. */
export function section(text: string, name: string): Map<string, string> | undefined {
  let found: Map<string, string> | undefined;
  let inside = false;
  for (const line of text.split('\n')) {
    if (line.startsWith('[')) {
      inside = line.trim() === `[${name}]`;
      if (inside) found ??= new Map();
    } else if (inside && !/^\s*[#;]/.test(line)) {
      const at = line.indexOf('=');
      if (at > 0) found?.set(line.slice(0, at).trim(), line.slice(at + 1).trim());
    }
  }
  return found;
}
