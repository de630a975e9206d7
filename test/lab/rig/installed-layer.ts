import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cached } from './cache.ts';
import { type RootfsOptions, rootfs } from './rootfs.ts';
import { run } from './shell.ts';

const repository = fileURLToPath(new URL('../../../', import.meta.url));

/** All that decides what install.sh installs. */
const sources = [
  'dist',
  'units',
  'tmpfiles',
  'man',
  'install.sh',
  'LICENSE',
  'package.json',
  'package-lock.json',
];

// Over a tree without a running systemd, install.sh installs all, enables its units and makes a key; what that has changed
// is the upper layer.
const script = `
  set -eu
  lower=$1 layers=$2 repository=$3 node=$4 npm=$5
  mkdir -p "$layers/upper" "$layers/work" "$layers/root"
  mount -t overlay -o "lowerdir=$lower,upperdir=$layers/upper,workdir=$layers/work" overlay "$layers/root"
  mount --bind -o ro "$repository" "$layers/root/src/wormhole"
  mount --bind "$node" "$layers/root/usr/local/bin/node"
  mount --bind "$npm" "$layers/root/usr/local/lib/node_modules/npm"
  mount -t proc proc "$layers/root/proc"
  mount --bind /dev "$layers/root/dev"
  chroot "$layers/root" env -i HOME=/tmp PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /src/wormhole/install.sh --listen
  # npm leaves things elsewhere.
  find "$layers/upper" -mindepth 1 -maxdepth 1 ! -name usr ! -name etc -exec rm -rf {} +
`;

/**
 * Returns the directory of what install.sh from this repository adds to the root file system: a lower layer for an overlay
 * over `rootfs(options)`, with `usr` and `etc`. A key is in it, which all that have the layer would share.
 */
export async function installedLayer(options: RootfsOptions): Promise<string> {
  const lower = (await rootfs(options)).join(':');
  const npm = join(dirname(process.execPath), '../lib/node_modules/npm');
  const directory = await cached({
    name: 'wormhole-layer',
    recipe: JSON.stringify([lower, script, fingerprint()]),
    keep: 24,
    async make(path) {
      mkdirSync(path);
      const inside = ['sh', '-c', script, 'sh', lower, path, repository, process.execPath, npm];
      await run(['unshare', '--mount', '--propagation=private', ...inside], { timeout: 120 }, 'install.sh');
    },
  });
  return join(directory, 'upper');
}

/** A digest of all files of the {@link sources}. */
function fingerprint(): string {
  const hash = createHash('sha256');
  for (const source of sources) {
    const path = join(repository, source);
    if (!existsSync(path)) throw new Error(`${path} is not there: run npm run build`);
    const names = statSync(path).isDirectory()
      ? readdirSync(path, { recursive: true, encoding: 'utf8' })
      : [''];
    for (const name of names.sort()) {
      const file = join(path, name);
      if (statSync(file).isFile()) hash.update(`${source}/${name}\n`).update(readFileSync(file));
    }
  }
  return hash.digest('hex');
}
