import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { mountControlGroups, removeControlGroup } from '../../lab/rig/control-group.ts';
import { tail } from '../../lab/rig/shell.ts';
import { waitFor } from '../../lab/rig/wait.ts';
import type { Plug } from './segment.ts';

/** What a virtual machine is made of. */
export interface Hardware {
  name: string;
  /** The kernel, a program. */
  kernel: string;
  /** A raw ext4 file system, to which nobody writes. */
  disk: string;
  plug: Pick<Plug, 'namespace' | 'tap' | 'mac' | 'aside'>;
  /** The directory of its state: `disk`, what differs from the disk above, and `console` are made there. */
  directory: string;
  /** Whether Docker is started; it has more memory then. */
  docker: boolean;
  /** The control group that it runs in. */
  group: string;
}

/** A virtual machine that has been started. */
export interface Machine {
  /** Whether it is off, by `kill` or by itself. */
  isOff(): boolean;
  /** Resolves when it is off. */
  ended: Promise<void>;
  /** Ends it at once, as a power cut would. What it has not written to its disk yet is lost. */
  kill(): Promise<void>;
}

const withoutDocker = ['docker.service', 'docker.socket', 'containerd.service'];

/** What no test needs. */
const idle = [
  ...['dev-hugepages.mount', 'dev-mqueue.mount', 'sys-kernel-debug.mount', 'sys-kernel-tracing.mount'],
  ...['modprobe@dm_mod.service', 'modprobe@loop.service', 'modprobe@fuse.service', 'modprobe@drm.service'],
  ...['systemd-logind.service', 'systemd-update-utmp.service', 'systemd-update-utmp-runlevel.service'],
  ...['modprobe@configfs.service', 'sys-kernel-config.mount', 'systemd-sysusers.service'],
  ...['systemd-random-seed.service', 'systemd-modules-load.service', 'getty.target'],
];

/** The command line of the kernel, whose cards are the descriptors 3 and 4. */
function kernelArguments({ name, disk, plug, directory, docker }: Hardware): string[] {
  return [
    // dockerd and MariaDB take 300 MiB together.
    ...[`mem=${docker ? 1280 : 640}M`, 'seccomp=on', 'noreboot', `umid=${name}`, `uml_dir=${directory}/`],
    ...[`ubd0=${join(directory, 'disk')},${disk}`, 'root=/dev/ubda', 'rw'],
    ...['con=null', 'con0=null,fd:1', 'ssl=null'],
    `vec0:transport=fd,fd=3,vec=0,mac=${plug.mac}`,
    'vec1:transport=fd,fd=4,vec=0,mac=52:54:00:92:00:02',
    ...['loglevel=4', 'panic=-1', `systemd.hostname=${name}`],
    ...[...idle, ...(docker ? [] : withoutDocker)].map((unit) => `systemd.mask=${unit}`),
  ];
}

// The memory of a machine is a file in /dev/shm, which has little room in some containers.
//
// Without virtio's headers on the tap devices nothing is offloaded to them: frames are as long as on a real wire, and have their
// checksums. TUNSETIFF, IFF_TAP | IFF_NO_PI: linux/if_tun.h. Perl closes what it opens behind $^F when it executes something.
const startScript = `
  set -eu
  group=$1 namespace=$2 tap=$3 aside=$4; shift 4
  ${mountControlGroups}
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  mkdir -p "/sys/fs/cgroup/$group"
  echo 0 > "/sys/fs/cgroup/$group/cgroup.procs"
  plug='
    use POSIX;
    ($^F, $tap) = splice @ARGV, 0, 2;
    open $card, "+<", "/dev/net/tun" or die "/dev/net/tun: $!";
    ioctl $card, 0x400454ca, pack "a16 s x22", $tap, 0x1002 or die "$tap: $!";
    POSIX::dup2(fileno $card, $^F);
    exec @ARGV or die "$ARGV[0]: $!"'
  exec nsenter --net="/run/netns/$namespace" perl -e "$plug" 3 "$tap" \
    nsenter --net="/run/netns/$aside" perl -e "$plug" 4 tap "$@"
`;

/**
 * Powers on a virtual machine, and returns as soon as its kernel says something. It ends with this process.
 *
 * Throws when the kernel ends at once, with what it said.
 */
export async function powerOn(hardware: Hardware): Promise<Machine> {
  const { kernel, directory, group, plug } = hardware;
  const screen = join(directory, 'console');
  const log = openSync(screen, 'w');
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig=KILL', 'unshare', '--mount', '--propagation=private', 'sh', '-c', startScript, 'sh'],
      ...[group, plug.namespace, plug.tap, plug.aside, kernel, ...kernelArguments(hardware)],
    ],
    { detached: true, cwd: directory, stdio: ['ignore', log, log] },
  );
  // Not even a machine that a test forgot keeps this process from ending.
  child.unref();
  closeSync(log);
  let off = false;
  const ended = once(child, 'exit').then(() => {
    removeControlGroup(group);
    off = true;
  });
  await waitFor(() => off || statSync(screen).size > 0, { what: 'the kernel to start' });
  if (off) throw new Error(`the kernel ended at once:\n${tail(readFileSync(screen, 'utf8'), 20)}`);
  return {
    isOff: () => off,
    ended,
    async kill() {
      removeControlGroup(group);
      await ended;
    },
  };
}
