import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cached } from './rig/cache.ts';
import { run } from './rig/shell.ts';

const PLUGIN = 'usr/libexec/docker/cli-plugins/docker-compose';

/** The path of Compose v2, which Debian 12 does not have: that of Debian 13, a program that needs nothing but a C library. */
export function composeV2(): Promise<string> {
  return cached({
    name: 'compose-v2',
    recipe: `trixie docker-compose ${PLUGIN}`,
    make: async (path) => {
      const tree = `${path}.tree`;
      try {
        const options = ['--quiet', '--mode=root', '--variant=extract', '--include=docker-compose'];
        const mounts = ['unshare', '--mount', '--propagation=private'];
        await run([...mounts, 'mmdebstrap', ...options, 'trixie', tree], { timeout: 300 });
        await copyFile(join(tree, PLUGIN), path);
      } finally {
        await run(['rm', '-rf', tree]);
      }
    },
  });
}
