import { dirname } from 'node:path';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { printable } from '../text/printable.js';
import { farFile } from '../units/names.js';

/**
 * What is known of the far end of a link: its address, such as `10.0.0.2:61234`, or why there is none. Through a tunnel,
 * `device` is the tunnel's interface, and the forwarder uses no other.
 */
export type FarAddress = { address: string; device?: string } | { failure: string };

/** How a line with a failure begins; no address begins so. The forwarder reads it too. */
const FAILURE = '! ';

/** Tells the forwarder of a link, which reads the file, about its far end. */
export function writeFarAddress(id: string, known: FarAddress): void {
  const file = farFile(id);
  makeDirectory(dirname(file));
  writeAtomically(file, `${lineOf(known)}\n`);
}

/** What {@link writeFarAddress} has written last since the boot; undefined when nothing. */
export function readFarAddress(id: string): FarAddress | undefined {
  const text = readIfExists(farFile(id))?.trim();
  if (text === undefined) return undefined;
  if (text.startsWith(FAILURE)) return { failure: text.slice(FAILURE.length) };
  const [address = '', device] = text.split(' ');
  return { address, ...(device !== undefined && { device }) };
}

function lineOf(known: FarAddress): string {
  if ('failure' in known) return `${FAILURE}${printable(known.failure.replace(/\s+/g, ' '))}`;
  return known.device === undefined ? known.address : `${known.address} ${known.device}`;
}
