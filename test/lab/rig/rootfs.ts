import { type Artefact, cached } from './cache.ts';
import { makeTree, type Tree, treeRecipe } from './debian.ts';

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

const tree: Tree = {
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

function artefact(packages: string[]): Artefact {
  const customize = tree.customize + (packages.includes('podman') ? podmanSettings : '');
  const all: Tree = { ...tree, packages: [...tree.packages, ...packages], customize };
  return {
    name: packages.length === 0 ? 'rootfs' : 'rootfs-with-packages',
    recipe: treeRecipe(all),
    make: (path) => makeTree(all, path, 'directory'),
  };
}

/**
 * Returns the directory that is the root file system of hosts before their first boot; nobody may write to it.
 *
 * @param packages Debian packages beside those that every host has
 */
export function rootfs(packages: string[] = []): Promise<string> {
  return cached(artefact(packages));
}
