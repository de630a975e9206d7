import { createHash } from 'node:crypto';
import { readSection } from './section.js';

/** The section that every unit file of ours ends with; systemd ignores it (systemd.unit(5)). */
export const SECTION = 'X-Wormhole';

/** Appends to the text of a unit the digest of that text, by which {@link isEdited} tells whether somebody has changed it. */
export function addDigest(text: string): string {
  const body = text.includes(`\n[${SECTION}]\n`) ? text : `${text}\n[${SECTION}]\n`;
  return `${body}Digest=${digestOf(body)}\n`;
}

/** Whether somebody has changed the text of a unit since {@link addDigest}; undefined when it has no digest. */
export function isEdited(text: string): boolean | undefined {
  const digest = readSection(text, SECTION)?.get('Digest');
  if (digest === undefined) return undefined;
  const line = `Digest=${digest}\n`;
  return !text.endsWith(line) || digestOf(text.slice(0, -line.length)) !== digest;
}

/** Applies a change of ours to the text of a unit, with a new digest; whether somebody has edited the unit stays as visible as it was. */
export function changeUnit(text: string, change: (text: string) => string): string {
  if (isEdited(text) !== false) return change(text);
  return addDigest(change(text.replace(/Digest=[0-9a-f]*\n$/, '')));
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
