import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Artefact, cacheDirectory, cached } from './cache.ts';
import { makeTree, type Release, type Tree, treeRecipe } from './debian.ts';
import { run } from './shell.ts';

/** What Debian itself starts at boot or by a timer that has no business in a test. */
const unwanted = [
  'apt-daily-upgrade.timer',
  'apt-daily.timer',
  'console-getty.service',
  'dpkg-db-backup.timer',
  'e2scrub_all.timer',
  'e2scrub_reap.service',
  'fstrim.timer',
  'getty@tty1.service',
  'man-db.timer',
  'systemd-pstore.service',
];

/** What systemd runs at every daemon-reload for nothing, since no host has what these look for. */
const unwantedGenerators = [
  ...['cryptsetup', 'fstab', 'getty', 'gpt-auto', 'hibernate-resume', 'integritysetup', 'rc-local'],
  ...['run', 'system-update', 'sysv', 'veritysetup'],
].map((name) => `systemd-${name}-generator`);

/** Shell commands that take the {@link unwanted} units and {@link unwantedGenerators} away from a root file system. */
export const maskUnwanted = `
    for unit in ${unwanted.join(' ')}; do ln -sf /dev/null "/etc/systemd/system/$unit"; done
    mkdir -p /etc/systemd/system-generators
    for generator in ${unwantedGenerators.join(' ')}; do ln -s /dev/null "/etc/systemd/system-generators/$generator"; done
`;

/** What a host's root file system is made of. */
export interface RootfsOptions {
  /** Debian packages beside those that every host has. */
  packages?: string[];
  /** Default: what WORMHOLE_LAB_RELEASE says, or bookworm. */
  release?: Release;
}

/** The releases, with packages that only one of them has. */
const RELEASES: Record<Release, string[]> = { bookworm: [], trixie: ['docker-cli'] };

const bookworm: Tree = {
  variant: 'minbase',
  packages: [
    ...['systemd', 'systemd-sysv', 'dbus', 'udev', 'docker.io', 'iptables', 'nftables', 'libstdc++6'],
    ...['iproute2', 'iputils-ping', 'curl', 'netcat-openbsd', 'socat', 'mariadb-client-core'],
    ...['procps', 'psmisc', 'man-db', 'less', 'strace', 'docker-registry'],
  ],
  // An empty machine-id, unlike "uninitialized", is not a first boot that would reset which units are enabled.
  customize: `
    ${maskUnwanted}
    systemctl disable --quiet docker-registry.service
    : > /etc/machine-id
    mkdir -p /src/wormhole /var/log/journal /usr/local/lib/node_modules/npm /etc/docker
    touch /usr/local/bin/node
    ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
    ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
    rm -f /etc/resolv.conf /etc/hostname
    passwd -d root >/dev/null
  `,
};

/**
 * What Podman needs in a host: storage that is not on the overlay that a host's root is, which goes where Docker's would be; runc,
 * since crun sets a limit on locked memory, which this machine may not; and no limit on processes, whose controller a host may lack.
 */
const podmanSettings = `
    mkdir -p /etc/containers
    cat > /etc/containers/storage.conf <<'END'
[storage]
driver = "overlay"
graphroot = "/var/lib/docker/containers"
runroot = "/run/containers/storage"
END
    cat > /etc/containers/containers.conf <<'END'
[containers]
pids_limit = 0
[engine]
runtime = "runc"
END
`;

// apt-get in the root file system itself; what it adds is the upper layer. It uses the lists of the run before, and updates them when a
// package is missing there. invoke-rc.d(8) asks policy-rc.d, which forbids all.
const addScript = `
  set -eu
  base=$1 layer=$2 lists=$3 customize=$4; shift 4
  root=$layer/root
  mkdir -p "$layer/upper" "$layer/work" "$root" "$lists/partial"
  mount -t overlay -o "lowerdir=$base,upperdir=$layer/upper,workdir=$layer/work" overlay "$root"
  mount -t proc proc "$root/proc"
  mount --bind /dev "$root/dev"
  for directory in run tmp var/cache/apt; do mount -t tmpfs tmpfs "$root/$directory"; done
  mount --bind "$lists" "$root/var/lib/apt/lists"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  printf '#!/bin/sh\\nexit 101\\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  inside() {
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
  }
  install() { inside apt-get install --quiet --yes --no-install-recommends "$@"; }
  install "$@" || { inside apt-get update --quiet; install "$@"; }
  printf '%s' "$customize" | inside sh -eu
  rm "$root/etc/resolv.conf" "$root/usr/sbin/policy-rc.d"
`;

function packagesLayer(base: string, packages: string[]): Artefact {
  const customize = packages.includes('podman') ? podmanSettings : '';
  return {
    name: 'packages-layer',
    recipe: JSON.stringify([base, addScript, packages, customize]),
    async make(path) {
      const lists = join(cacheDirectory, 'apt-lists');
      const inside = ['sh', '-c', addScript, 'sh', base, path, lists, customize, ...packages];
      mkdirSync(path);
      const what = `installing ${packages.join(' ')}`;
      await run(['unshare', '--mount', '--propagation=private', ...inside], { timeout: 900 }, what);
    },
  };
}

/** The release that WORMHOLE_LAB_RELEASE names, with which hosts are booted unless their test says otherwise. */
function defaultRelease(): Release {
  const { WORMHOLE_LAB_RELEASE: name = 'bookworm' } = process.env;
  if (name in RELEASES) return name as Release;
  throw new Error(`WORMHOLE_LAB_RELEASE="${name}": it takes ${Object.keys(RELEASES).join(' or ')}`);
}

/**
 * Returns the layers of the root file system of hosts before their first boot, for an overlay, the topmost first; nobody may write to
 * them.
 */
export async function rootfs({
  packages = [],
  release = defaultRelease(),
}: RootfsOptions = {}): Promise<string[]> {
  const tree: Tree =
    release === 'bookworm'
      ? bookworm
      : { ...bookworm, release, packages: [...bookworm.packages, ...RELEASES[release]] };
  const base = await cached({
    name: 'rootfs',
    recipe: treeRecipe(tree),
    make: (path) => makeTree(tree, path, 'directory'),
  });
  if (packages.length === 0) return [base];
  return [join(await cached(packagesLayer(base, packages)), 'upper'), base];
}
