import { recipeFromText } from '../recipe/text.js';
import type { NamedLink } from './render.js';

/** A unit file that says it is a link's, and does not hold what a link's must. */
export class UnreadableLink extends Error {}

/**
 * Reads a link back from the text of its socket unit: the opposite of rendering.
 *
 * @returns undefined when the file has no [X-Wormhole] section, and so is not a link's
 * @throws UnreadableLink when the section lacks a setting or holds a recipe that cannot be read
 */
export function readLink(text: string): NamedLink | undefined {
  const settings = section(text, 'X-Wormhole');
  if (settings === undefined) return undefined;
  const id = settings.get('Id');
  const recipe = settings.get('Recipe');
  if (id === undefined || recipe === undefined) throw new UnreadableLink('[X-Wormhole] lacks Id= or Recipe=');
  const parent = settings.get('Parent');
  try {
    const link = recipeFromText(recipe);
    return parent === undefined ? { id, link } : { id, parent, link };
  } catch (error) {
    throw new UnreadableLink(`Recipe= cannot be read: ${(error as Error).message}`);
  }
}

/** The settings of one section of a unit file (systemd.syntax(7)); undefined when the section is not there. */
function section(text: string, name: string): Map<string, string> | undefined {
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
