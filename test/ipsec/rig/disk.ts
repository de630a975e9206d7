import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cached } from '../../lab/rig/cache.ts';
import { makeTree, type Tree, treeRecipe } from '../../lab/rig/debian.ts';
import { copyStore } from '../../lab/rig/disk.ts';
import { dockerStore } from '../../lab/rig/docker-store.ts';
import { installedLayer } from '../../lab/rig/installed-layer.ts';
import { maskUnwanted } from '../../lab/rig/rootfs.ts';
import { run } from '../../lab/rig/shell.ts';

// udev has the card of User-mode Linux have the name that a card has elsewhere.
const cardLink = `[Match]
OriginalName=vec0
[Link]
Name=eth0
`;

const networkUnit = `[Unit]
Description=The network of the test rig
Requires=sys-subsystem-net-devices-eth0.device
After=sys-subsystem-net-devices-eth0.device
Wants=network.target
Before=network.target network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip -batch /etc/lab/network
[Install]
WantedBy=multi-user.target
`;

const channelUnit = `[Unit]
Description=Commands of the test rig
DefaultDependencies=no
After=sysinit.target
[Service]
RuntimeDirectory=sshd lab
ExecStart=unshare --net /etc/lab/channel
StandardError=null
KillMode=process
[Install]
WantedBy=multi-user.target
`;

// Nothing else on the machine has to do with the network namespace of the second card, where it calls the rig. It never goes down: its
// kernel would close what it is plugged to.
const channelScript = `#!/bin/bash
until nsenter --target 1 --net ip link set vec1 netns $$; do sleep 0.1; done
ip addr add 192.0.2.2/30 dev vec1
ip link set vec1 up
while :; do
  /bin/bash -c 'exec <>/dev/tcp/192.0.2.1/22 >&0 && exec /usr/sbin/sshd -i -f /etc/lab/sshd_config'
  sleep 0.1
done
`;

// There is no bridge and no packet filter in its kernel, and nobody needs them: all containers of the tests have no network.
const dockerSettings = '{ "bridge": "none", "iptables": false, "ip6tables": false }';

/** sshd(8) answers on a connection that leads to the rig and nowhere else. */
const sshdConfig = `HostKey /etc/lab/host_key
PermitRootLogin yes
PermitEmptyPasswords yes
UsePAM no
MaxSessions 200
PrintMotd no
PrintLastLog no
UseDNS no
LogLevel ERROR
`;

/** Runs a command, in the machine's own network, as a process group of its own, whose id it keeps where the rig finds it to kill the group. */
const runScript = `#!/bin/bash
set -m
id=/run/lab/$1
shift
nsenter --target 1 --net env -i -C /root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  HOME=/root USER=root LANG=C.UTF-8 TERM=dumb "$@" <&0 &
echo $! >"$id"
# bash would say that a job was killed.
exec 2>/dev/null
wait $!
status=$?
rm -f "$id"
exit $status
`;

const tree: Tree = {
  variant: 'minbase',
  packages: [
    ...['systemd', 'systemd-sysv', 'dbus', 'udev', 'docker.io', 'libstdc++6', 'openssh-server'],
    ...['iproute2', 'iputils-ping', 'iptables', 'nftables', 'kmod'],
    ...['curl', 'netcat-openbsd', 'socat', 'mariadb-client-core', 'procps', 'psmisc', 'strace'],
  ],
  // An empty machine-id, unlike "uninitialized", is not a first boot that would reset which units are enabled.
  customize: `
    ${maskUnwanted}
    systemctl disable --quiet ssh.service
    rm -f /etc/ssh/ssh_host_* /etc/resolv.conf /etc/hostname
    : > /etc/machine-id
    passwd -d root >/dev/null
    mkdir -p /var/log/journal /etc/lab /etc/docker
    echo '${dockerSettings}' > /etc/docker/daemon.json
    : > /etc/lab/network
    ssh-keygen -q -t ed25519 -N '' -f /etc/lab/host_key
    cat > /etc/lab/sshd_config <<'END'
${sshdConfig}END
    cat > /etc/lab/run <<'END'
${runScript}END
    cat > /etc/lab/channel <<'END'
${channelScript}END
    chmod 755 /etc/lab/run /etc/lab/channel
    cat > /etc/systemd/system/lab-network.service <<'END'
${networkUnit}END
    cat > /etc/systemd/system/lab-channel.service <<'END'
${channelUnit}END
    systemctl enable --quiet lab-network.service lab-channel.service
    cat > /etc/systemd/network/10-eth0.link <<'END'
${cardLink}END
  `,
};

/** Bytes of the disk, as mke2fs takes them. What is not written takes no room on this machine. */
const size = '6G';

/** Returns the root file system without Wormhole, a directory to which nobody may write, made first when the cache lacks it. */
async function base(): Promise<string> {
  const store = await dockerStore();
  return cached({
    name: 'vm-root',
    recipe: JSON.stringify([treeRecipe(tree), store, process.version, statSync(process.execPath).size]),
    make: async (root) => {
      await makeTree(tree, root, 'directory');
      copyFileSync(process.execPath, join(root, 'usr/local/bin/node'));
      const docker = join(root, 'var/lib/docker');
      mkdirSync(docker, { recursive: true });
      await copyStore(store, docker);
    },
  });
}

const script = `
  set -eu
  mount -t overlay -o "ro,lowerdir=$1:$2" overlay /mnt
  mke2fs -q -t ext4 -d /mnt "$3" ${size}
`;

/**
 * Returns a raw ext4 file system to which nobody may write: systemd, Docker with the images of the lab, the Node that runs the tests and
 * Wormhole. It is made first when the cache lacks it.
 */
export async function installedDisk(): Promise<string> {
  const [root, layer] = await Promise.all([base(), installedLayer({ release: 'bookworm' })]);
  const directory = await cached({
    name: 'vm-installed',
    recipe: JSON.stringify([root, layer, script]),
    keep: 24,
    make: async (path) => {
      // What is in the cache gets a new time of modification when it is used. By that of the disk itself, a machine knows that it is the
      // one that its own differs from.
      mkdirSync(path);
      const disk = join(path, 'disk');
      writeFileSync(disk, '');
      const inside = ['sh', '-c', script, 'sh', layer, root, disk];
      await run(['unshare', '--mount', '--propagation=private', ...inside], { timeout: 300 }, 'mke2fs');
    },
  });
  return join(directory, 'disk');
}
