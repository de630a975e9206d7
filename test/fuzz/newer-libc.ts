import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cached } from '../lab/rig/cache.ts';
import { run } from '../lab/rig/shell.ts';

/** The version of glibc that the addon of Jazzer.js 4 is linked with. */
const NEEDED = 38;

/**
 * A command line that runs a program with a C library which is new enough for Jazzer.js: that of Debian 13 on Debian 12, and
 * nothing where the machine's own is.
 */
export async function newerLibc(): Promise<string[]> {
  const report = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  if (Number(report.header.glibcVersionRuntime?.split('.')[1]) >= NEEDED) return [];
  const root = await cached({
    name: 'fuzz-libc',
    recipe: 'trixie libc6 libstdc++6',
    make: async (path) => {
      const tree = ['--quiet', '--mode=root', '--variant=extract', '--include=libc6,libstdc++6'];
      await run(['unshare', '--mount', '--propagation=private', 'mmdebstrap', ...tree, 'trixie', path], {
        timeout: 300,
      });
    },
  });
  const multiarch = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  const libraries = join(root, 'usr/lib', multiarch);
  const loader = ['ld-linux-x86-64.so.2', 'ld-linux-aarch64.so.1']
    .map((name) => join(libraries, name))
    .find((path) => existsSync(path));
  if (loader === undefined) throw new Error(`${libraries} has no loader for this machine`);
  return [loader, '--library-path', libraries];
}
