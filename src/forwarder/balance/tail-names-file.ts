import { readFileSync, statSync } from 'node:fs';
import type { Log } from '../log.js';

/** What a file says about tails. */
interface NamesFile {
  /** The names while the file does not exist. */
  absent: readonly string[];
  /** What the tails are, in log messages: "drained". */
  what: string;
  log: Log;
}

/** Tells the names of tails in a file, one a line, which may change while the process runs. @param path undefined if there is none */
export function watchNames(
  path: string | undefined,
  { absent, what, log }: NamesFile,
): () => ReadonlySet<string> {
  let names = new Set(absent);
  let known = '';
  return () => {
    if (path === undefined) return names;
    const found = statSync(path, { throwIfNoEntry: false });
    const version = found === undefined ? '' : `${found.ino} ${found.mtimeMs}`;
    if (version === known) return names;
    known = version;
    try {
      names = new Set(found === undefined ? absent : readFileSync(path, 'utf8').split('\n'));
    } catch (error) {
      log.error('failed', `which tails are ${what} cannot be read: ${(error as Error).message}`);
    }
    return names;
  };
}
