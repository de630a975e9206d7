import { dirname } from 'node:path';
import { makeDirectory, readIfExists, writeAtomically } from '../system/files.js';
import { printable } from '../text/printable.js';
import { farFile } from '../units/names.js';

/**
 * What is known of the far end of a link: its address, such as `10.0.0.2:61234`, or why there is none. Through a tunnel,
 * `device` is the tunnel's interface, and the forwarder uses no other. `failing` says, in the words of that machine, why its part
 * has closed its last clients.
 */
export type FarAddress = { address: string; device?: string; failing?: string } | { failure: string };

/** How a line with a failure begins; no address begins so. The forwarder reads it too. */
const FAILURE = '! ';

/** Tells the forwarder of a link, which reads the file, about its far end. */
export function writeFarAddress(id: string, known: FarAddress): void {
  const file = farFile(id);
  makeDirectory(dirname(file));
  writeAtomically(file, `${textOf(known)}\n`);
}

/** What {@link writeFarAddress} has written last since the boot; undefined when nothing. */
export function readFarAddress(id: string): FarAddress | undefined {
  const text = readIfExists(farFile(id))?.trim();
  if (text === undefined) return undefined;
  if (text.startsWith(FAILURE)) return { failure: text.slice(FAILURE.length) };
  const [line = '', failing] = text.split('\n');
  const [address = '', device] = line.split(' ');
  return { address, ...(device !== undefined && { device }), ...(failing !== undefined && { failing }) };
}

function inOneLine(text: string): string {
  return printable(text.replace(/\s+/g, ' '));
}

function textOf(known: FarAddress): string {
  if ('failure' in known) return `${FAILURE}${inOneLine(known.failure)}`;
  const { address, device, failing } = known;
  const first = device === undefined ? address : `${address} ${device}`;
  return failing === undefined ? first : `${first}\n${inOneLine(failing)}`;
}
