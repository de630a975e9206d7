import { copyFileSync, mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Artefact, cached } from '../../lab/rig/cache.ts';
import { makeTree, type Tree, treeRecipe } from '../../lab/rig/debian.ts';
import { copyStore } from '../../lab/rig/disk.ts';
import { dockerStore } from '../../lab/rig/docker-store.ts';
import { maskUnwanted } from '../../lab/rig/rootfs.ts';
import { removeTree, run } from '../../lab/rig/shell.ts';

/** What every virtual machine starts from; nobody may write to it. */
export interface Base {
  /** A Linux kernel, Debian's own for virtual machines: it has ESP, xfrm interfaces and nf_tables as modules. */
  kernel: string;
  /** A gzipped cpio with /init, which mounts the disk and hands over to systemd. */
  initrd: string;
  /** A raw ext4 file system: systemd, Docker with the images of the lab, and the Node that runs the tests. */
  disk: string;
  /** What a second disk without anything on it has in it. */
  emptyParcel: string;
}

/** The kernel has the disk's driver as modules. Each needs those before it. */
const diskModules = [
  'virtio_ring',
  'virtio',
  'virtio_pci_legacy_dev',
  'virtio_pci_modern_dev',
  'virtio_pci',
  'virtio_blk',
];

const init = `#!/bin/busybox sh
alias busybox=/bin/busybox
busybox mount -t devtmpfs dev /dev
for module in ${diskModules.join(' ')}; do busybox insmod /$module.ko; done
busybox mount -t ext4 /dev/vda /root
exec /bin/busybox switch_root /root /sbin/init
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
BindsTo=dev-virtio\\x2dports-lab.device
After=dev-virtio\\x2dports-lab.device
StartLimitIntervalSec=0
[Service]
RuntimeDirectory=sshd lab
ExecStart=/bin/sh -c 'exec /usr/sbin/sshd -i -f /etc/lab/sshd_config <>/dev/virtio-ports/lab >&0'
Restart=always
RestartSec=200ms
KillMode=process
[Install]
WantedBy=multi-user.target
`;

/** sshd(8) answers on a serial port that leads to the rig and nowhere else. */
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

/** Runs a command as a process group of its own, whose id it keeps where the rig finds it to kill the group. */
const runScript = `#!/bin/bash
set -m
id=/run/lab/$1
shift
env -i -C /root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LANG=C.UTF-8 \\
  TERM=dumb "$@" <&0 &
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
    ...[
      'linux-image-cloud-amd64',
      'busybox-static',
      'cpio',
      'kmod',
      'systemd',
      'systemd-sysv',
      'dbus',
      'udev',
    ],
    ...['docker.io', 'iptables', 'nftables', 'libstdc++6', 'iproute2', 'iputils-ping', 'openssh-server'],
    ...['curl', 'netcat-openbsd', 'socat', 'mariadb-client-core', 'procps', 'psmisc', 'strace'],
  ],
  // An empty machine-id, unlike "uninitialized", is not a first boot that would reset which units are enabled.
  customize: `
    ${maskUnwanted}
    ln -sf /dev/null /etc/systemd/system/serial-getty@ttyS0.service
    systemctl disable --quiet ssh.service
    rm -f /etc/ssh/ssh_host_* /etc/resolv.conf /etc/hostname
    : > /etc/machine-id
    passwd -d root >/dev/null
    mkdir -p /var/log/journal /etc/lab
    : > /etc/lab/network
    ssh-keygen -q -t ed25519 -N '' -f /etc/lab/host_key
    cat > /etc/lab/sshd_config <<'END'
${sshdConfig}END
    cat > /etc/lab/run <<'END'
${runScript}END
    chmod 755 /etc/lab/run
    cat > /etc/systemd/system/lab-network.service <<'END'
${networkUnit}END
    cat > /etc/systemd/system/lab-channel.service <<'END'
${channelUnit}END
    systemctl enable --quiet lab-network.service lab-channel.service
    mkdir -p /boot/initrd/bin /boot/initrd/dev /boot/initrd/root
    cp /bin/busybox /boot/initrd/bin
    cat > /boot/initrd/init <<'END'
${init}END
    chmod 755 /boot/initrd/init
    for module in ${diskModules.join(' ')}; do find /lib/modules -name $module.ko -exec cp {} /boot/initrd \\;; done
    (cd /boot/initrd && find . | cpio --quiet -o -H newc | gzip -1) > /boot/lab-initrd
    rm -rf /boot/initrd
  `,
};

/** Bytes of the disk, as mke2fs takes them. What is not written takes no room on this machine. */
const size = '6G';

/** Bytes of the second disk. The same on all machines, since a guest does not expect it to change when it is resumed. */
export const parcelSize = 256 * 1024 * 1024;

/** Returns the {@link Base}, made first when the cache lacks it: that takes two minutes. */
export async function base(): Promise<Base> {
  const store = await dockerStore();
  const artefact: Artefact = {
    name: 'vm',
    recipe: JSON.stringify([
      treeRecipe(tree),
      size,
      parcelSize,
      store,
      process.version,
      statSync(process.execPath).size,
    ]),
    make: (path) => makeBase(store, path),
  };
  const directory = await cached(artefact);
  return {
    kernel: join(directory, 'kernel'),
    initrd: join(directory, 'initrd'),
    disk: join(directory, 'disk'),
    emptyParcel: join(directory, 'empty-parcel'),
  };
}

async function makeBase(store: string, directory: string): Promise<void> {
  mkdirSync(directory);
  const root = join(directory, 'root');
  await makeTree(tree, root, 'directory');
  const boot = join(root, 'boot');
  const kernel = readdirSync(boot).find((name) => name.startsWith('vmlinuz-'));
  if (!kernel) throw new Error(`no kernel in ${boot}`);
  copyFileSync(join(boot, kernel), join(directory, 'kernel'));
  copyFileSync(join(boot, 'lab-initrd'), join(directory, 'initrd'));
  removeTree(boot);
  mkdirSync(boot);
  copyFileSync(process.execPath, join(root, 'usr/local/bin/node'));
  const docker = join(root, 'var/lib/docker');
  mkdirSync(docker, { recursive: true });
  await copyStore(store, docker);
  const disk = join(directory, 'disk');
  writeFileSync(join(directory, 'empty-parcel'), '');
  truncateSync(join(directory, 'empty-parcel'), parcelSize);
  writeFileSync(disk, '');
  await run(['mke2fs', '-q', '-t', 'ext4', '-d', root, disk, size], { timeout: 300 });
  removeTree(root);
}
