import { dirname } from 'node:path';
import { makeDirectory, readIfExists, writeAtomically } from '../../system/files.js';
import { farFile } from '../../units/names.js';

/** What is known of the far end of a link: its address, such as `10.0.0.2:61234`, or why there is none. */
export type FarAddress = { address: string } | { failure: string };

/** How a line with a failure begins; no address begins so. The forwarder reads it too. */
const FAILURE = '! ';

/** Tells the forwarder of a link, which reads the file, about its far end. */
export function writeFarAddress(id: string, known: FarAddress): void {
  const file = farFile(id);
  const text = 'address' in known ? known.address : `${FAILURE}${known.failure.replace(/\s+/g, ' ')}`;
  makeDirectory(dirname(file));
  writeAtomically(file, `${text}\n`);
}

/** What {@link writeFarAddress} has written last since the boot; undefined when nothing. */
export function readFarAddress(id: string): FarAddress | undefined {
  const text = readIfExists(farFile(id))?.trim();
  if (text === undefined) return undefined;
  return text.startsWith(FAILURE) ? { failure: text.slice(FAILURE.length) } : { address: text };
}
