import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { installedLayer } from './installed-layer.ts';
import type { Disk } from './machine.ts';
import { type RootfsOptions, rootfs } from './rootfs.ts';
import { run } from './shell.ts';

/** What is on a new host's disk. */
export interface DiskOptions extends RootfsOptions {
  /** Its host name. */
  name: string;
  /** Its line in /etc/hosts and those of the hosts that it knows. */
  hosts: string;
  /** Whether Docker is installed. */
  docker: boolean;
  /** The prepared content of /var/lib/docker, if any. */
  store?: string;
  /** Whether Wormhole is installed, with a key of the host's own. Default false. */
  wormhole?: boolean;
}

/** What makes Docker; a host without Docker lacks it all, but for what is a package that it was given, such as runc. */
const dockerFiles = [
  'usr/bin/docker',
  'usr/sbin/dockerd',
  'usr/bin/containerd',
  'usr/sbin/runc',
  'etc/init.d/docker',
  'usr/lib/systemd/system/docker.service',
  'usr/lib/systemd/system/docker.socket',
  'usr/lib/systemd/system/containerd.service',
  'etc/systemd/system/multi-user.target.wants/docker.service',
  'etc/systemd/system/multi-user.target.wants/containerd.service',
  'etc/systemd/system/sockets.target.wants/docker.socket',
];

/** Makes a disk in the new directory `directory`, which must be on the file system of the cache. */
export async function makeDisk(directory: string, options: DiskOptions): Promise<Disk> {
  const lower = [
    ...(options.wormhole ? [await installedLayer(options)] : []),
    ...(await rootfs(options)),
  ].join(':');
  const upper = join(directory, 'upper');
  for (const part of ['upper/etc', 'work', 'root', 'docker'])
    mkdirSync(join(directory, part), { recursive: true });
  writeFileSync(join(upper, 'etc/hostname'), `${options.name}\n`);
  writeFileSync(join(upper, 'etc/hosts'), `127.0.0.1 localhost\n::1 localhost\n${options.hosts}`);
  if (options.wormhole) {
    mkdirSync(join(upper, 'etc/wormhole'));
    // As install.sh makes it.
    writeFileSync(join(upper, 'etc/wormhole/key.secret'), randomBytes(32).toString('hex'), { mode: 0o600 });
  }
  if (!options.docker) {
    const isWanted = (file: string) => options.packages?.includes(basename(file)) ?? false;
    for (const file of dockerFiles.filter((one) => !isWanted(one))) {
      mkdirSync(dirname(join(upper, file)), { recursive: true });
      // An overlay's whiteout: the file below is gone.
      await run(['mknod', join(upper, file), 'c', '0', '0']);
    }
  }
  if (options.store) await copyStore(options.store, join(directory, 'docker'));
  return { directory, lower };
}

/** Copies a directory that was /var/lib/docker. Image layers are hard links, since nobody ever writes to one. */
export async function copyStore(store: string, target: string): Promise<void> {
  await run([
    'bash',
    '-euc',
    `for entry in "$1"/*; do
      if [ "\${entry##*/}" = overlay2 ]; then cp -al "$entry" "$2"; else cp -a "$entry" "$2"; fi
    done`,
    'bash',
    store,
    target,
  ]);
}
