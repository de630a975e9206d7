import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cached } from '../../lab/rig/cache.ts';
import { rootfs } from '../../lab/rig/rootfs.ts';
import { removeTree, run } from '../../lab/rig/shell.ts';

const repository = fileURLToPath(new URL('../../../', import.meta.url));

/** All that decides what install.sh installs. */
const sources = ['dist', 'units', 'man', 'install.sh', 'LICENSE', 'package.json', 'package-lock.json'];

// An emulated machine would take a minute for this. Over a tree without a running systemd, install.sh installs all, enables its
// units and makes a key; what that has changed is the upper layer.
const script = `
  set -eu
  lower=$1 draft=$2 repository=$3 node=$4 npm=$5
  mkdir -p "$draft/upper" "$draft/work" "$draft/root"
  mount -t overlay -o "lowerdir=$lower,upperdir=$draft/upper,workdir=$draft/work" overlay "$draft/root"
  mount --bind -o ro "$repository" "$draft/root/src/wormhole"
  mount --bind "$node" "$draft/root/usr/local/bin/node"
  mount --bind "$npm" "$draft/root/usr/local/lib/node_modules/npm"
  mount -t proc proc "$draft/root/proc"
  mount --bind /dev "$draft/root/dev"
  chroot "$draft/root" env -i HOME=/tmp PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /src/wormhole/install.sh --listen
`;

/**
 * Returns the path of a tar to unpack over the root file system of a machine: Wormhole, installed by install.sh from this
 * repository. Every machine gets the same key with it, so that they can talk to each other.
 */
export async function wormholeTar(): Promise<string> {
  const lower = await rootfs();
  const npm = join(dirname(process.execPath), '../lib/node_modules/npm');
  const directory = await cached({
    name: 'wormhole-installed',
    recipe: JSON.stringify([lower, script, fingerprint()]),
    async make(path) {
      const draft = join(path, 'draft');
      mkdirSync(draft, { recursive: true });
      const inside = ['sh', '-c', script, 'sh', lower, draft, repository, process.execPath, npm];
      await run(['unshare', '--mount', '--propagation=private', ...inside], { timeout: 120 }, 'install.sh');
      await run(['tar', '-C', join(draft, 'upper'), '-cf', join(path, 'tar'), 'usr', 'etc']);
      removeTree(draft);
    },
  });
  return join(directory, 'tar');
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
