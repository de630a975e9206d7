import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { farFile } from '../units/names.js';

/** What is known of the far end of a link: its address, such as `10.0.0.2:61234`, or why there is none. */
export type FarEnd = { address: string } | { trouble: string };

/** What a line with a trouble begins with; no address does. */
const TROUBLE = '! ';

/** Tells the forwarder of a link, which reads the file, about its far end. */
export function writeFarFile(id: string, end: FarEnd): void {
  const file = farFile(id);
  const text = 'address' in end ? end.address : `${TROUBLE}${end.trouble.replace(/\s+/g, ' ')}`;
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  writeFileSync(`${file}.new`, `${text}\n`, { mode: 0o644 });
  renameSync(`${file}.new`, file);
}

/** What {@link writeFarFile} has last written since the boot; undefined when it has not. */
export function readFarFile(id: string): FarEnd | undefined {
  try {
    const text = readFileSync(farFile(id), 'utf8').trim();
    return text.startsWith(TROUBLE) ? { trouble: text.slice(TROUBLE.length) } : { address: text };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Forgets what is known; nothing may be. */
export function removeFarFile(id: string): void {
  rmSync(farFile(id), { force: true });
}
