import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync, utimesSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { removeTree } from './shell.ts';

/**
 * Where the lab keeps what is slow to make, and the state of runs: `$WORMHOLE_LAB_CACHE`, else
 * `wormhole-lab` in `$XDG_CACHE_HOME`, else in `~/.cache`.
 */
export const cacheDirectory =
  process.env.WORMHOLE_LAB_CACHE ||
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'wormhole-lab');

const hour = 3600 * 1000;

/** Something slow to make that is kept for later runs. */
export interface Artefact {
  /** Its name, in the cache and in the progress line. */
  name: string;
  /** All that it is made of, as text: when this changes, the artefact is rebuilt. */
  recipe: string;
  /** Makes it, a file or a directory, at `path`. */
  make: (path: string) => Promise<void>;
  /** Hours after its last use in which it is kept when another version is made. Default a week. */
  keep?: number;
}

/** The path that `artefact` has, or will have once it is made. */
export function artefactPath({ name, recipe }: Artefact): string {
  const key = createHash('sha256').update(recipe).digest('hex').slice(0, 16);
  return join(cacheDirectory, `${name}-${key}`);
}

/**
 * Returns the path of `artefact`, made first when the cache lacks it. Another process that wants the same one
 * meanwhile waits for it. Versions of it that have not been asked for in a week, or `keep`, are removed then.
 */
export async function cached(artefact: Artefact): Promise<string> {
  const path = artefactPath(artefact);
  if (existsSync(path)) {
    utimesSync(path, new Date(), new Date());
    return path;
  }
  mkdirSync(cacheDirectory, { recursive: true });
  const unlock = await lock(join(cacheDirectory, `${artefact.name}.lock`));
  try {
    if (existsSync(path)) return path;
    prune(artefact);
    console.log(`lab: making ${artefact.name}…`);
    const begin = Date.now();
    const draft = `${path}.draft`;
    await artefact.make(draft);
    renameSync(draft, path);
    console.log(`lab: made ${artefact.name} in ${((Date.now() - begin) / 1000).toFixed(0)} s`);
    return path;
  } finally {
    unlock();
  }
}

/** Removes old versions of an artefact, and drafts of it: whoever holds its lock is the only one to make one. */
function prune({ name, keep = 7 * 24 }: Artefact): void {
  for (const entry of readdirSync(cacheDirectory)) {
    const path = join(cacheDirectory, entry);
    const isVersion =
      entry.startsWith(`${name}-`) && /^[0-9a-f]{16}(\.draft)?$/.test(entry.slice(name.length + 1));
    if (!isVersion) continue;
    if (entry.endsWith('.draft') || Date.now() - statSync(path).mtimeMs > keep * hour) removeTree(path);
  }
}

/** Takes the lock `path`, and returns what releases it. The lock goes with this process, however it ends. */
async function lock(path: string): Promise<() => void> {
  // Node has no flock(2). The child holds it until its standard input closes.
  const child = spawn('flock', [path, 'sh', '-c', 'echo locked; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return () => child.stdin.end();
}
