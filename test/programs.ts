import { execFileSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What dist is built from. */
const sources = ['src', 'templates', 'build', 'package.json', 'package-lock.json'];

/** Where the built programs are. */
export const programs = {
  wormhole: join(root, 'dist/wormhole.cjs'),
  wormholed: join(root, 'dist/wormholed.cjs'),
  forwarder: join(root, 'dist/forwarder.cjs'),
};

let isBuilt = false;

/** Builds dist, unless it is newer than all that it is built from, or test/run.ts has done so. Types are not checked. */
export function buildPrograms(): void {
  if (isBuilt || process.env.WORMHOLE_BUILT) return;
  isBuilt = true;
  const newest = Math.max(...sources.flatMap(filesOf).map((path) => statSync(path).mtimeMs));
  // The build writes it last. All its files have the time when it began.
  const built = statSync(join(root, 'dist/THIRD-PARTY-LICENSES'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (built > newest) return;
  execFileSync(process.execPath, ['--import', 'tsx', join(root, 'build/main.ts')], {
    cwd: root,
    stdio: 'inherit',
  });
}

function filesOf(source: string): string[] {
  const path = join(root, source);
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { recursive: true, encoding: 'utf8' }).map((name) => join(path, name));
}
