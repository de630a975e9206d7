import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Artefact, cached } from '../../lab/rig/cache.ts';
import { removeTree, run } from '../../lab/rig/shell.ts';

/*
 * A kernel that runs as a program: User-mode Linux, https://docs.kernel.org/virt/uml/user_mode_linux_howto_v2.html. Its processes run at
 * the speed of this machine, which has neither ESP nor a way to run virtual machines but to emulate them. Debian builds one too, but
 * without xfrm interfaces. Since Linux 6.16 it has seccomp(2) in place of ptrace(2), with which fork(2) and execve(2) take a third;
 * Debian 12 has no source that is new enough.
 */

const release = 'trixie-backports';
const source = 'linux-source-7.2';

/** What the kernel has beside what nothing can do without. Fewer things are built in less time. */
const features = `
  64BIT EXPERT CC_OPTIMIZE_FOR_SIZE NO_HZ_IDLE HIGH_RES_TIMERS BUG MULTIUSER PRINTK KALLSYMS ELF_CORE COREDUMP
  POSIX_TIMERS KCMP CROSS_MEMORY_ATTACH FUTEX_PI VM_EVENT_COUNTERS

  TTY UNIX98_PTYS SSL NULL_CHAN STDERR_CONSOLE MCONSOLE MAGIC_SYSRQ

  BLOCK BLK_DEV BLK_DEV_UBD EXT4_FS OVERLAY_FS PROC_FS PROC_SYSCTL SYSFS DEVTMPFS DEVTMPFS_MOUNT AUTOFS_FS
  TMPFS TMPFS_XATTR TMPFS_POSIX_ACL SHMEM FHANDLE FILE_LOCKING DNOTIFY INOTIFY_USER BINFMT_ELF BINFMT_SCRIPT

  POSIX_MQUEUE SYSVIPC FUTEX EPOLL SIGNALFD TIMERFD EVENTFD AIO MEMFD_CREATE MEMBARRIER ADVISE_SYSCALLS KEYS
  NAMESPACES UTS_NS USER_NS PID_NS NET_NS IPC_NS SECCOMP SECCOMP_FILTER
  CGROUPS MEMCG CGROUP_SCHED FAIR_GROUP_SCHED CFS_BANDWIDTH CGROUP_PIDS CGROUP_FREEZER CGROUP_DEVICE CGROUP_CPUACCT
  BPF BPF_SYSCALL CGROUP_BPF

  NET UNIX UNIX_DIAG PACKET PACKET_DIAG NETDEVICES NET_CORE UML_NET_VECTOR DUMMY VETH
  INET INET_DIAG INET_TCP_DIAG INET_UDP_DIAG INET_DIAG_DESTROY IP_MULTICAST IP_ADVANCED_ROUTER IP_MULTIPLE_TABLES
  SYN_COOKIES IPV6 IPV6_MULTIPLE_TABLES NET_SCHED NET_SCH_NETEM NET_SCH_FQ_CODEL
  XFRM XFRM_USER XFRM_INTERFACE XFRM_STATISTICS INET_ESP INET6_ESP CRYPTO CRYPTO_GCM CRYPTO_AES CRYPTO_SEQIV CRYPTO_ECHAINIV
`
  .trim()
  .split(/\s+/);

// The kernel's own build is quiet, and ends with an error where a feature is lacking that was asked for.
const script = `
  set -eu
  cd "$1"
  tar -xf ../packages/usr/src/${source}.tar.xz --strip-components=1
  make -s ARCH=um KCONFIG_ALLCONFIG=features allnoconfig
  sort features >wanted
  grep '=y$' .config | sort | comm -13 - wanted | grep . && { echo 'is in no kernel of this version' >&2; exit 1; }
  make -s ARCH=um -j"$(nproc)" linux
`;

/** Returns the path of the kernel, built first when the cache lacks it: that takes nine minutes on two slow processors. */
export function kernel(): Promise<string> {
  const artefact: Artefact = {
    name: 'vm-kernel',
    recipe: JSON.stringify([release, source, features, script]),
    make: build,
  };
  return cached(artefact);
}

async function build(path: string): Promise<void> {
  const work = `${path}.work`;
  const [packages, tree] = [join(work, 'packages'), join(work, 'tree')];
  removeTree(work);
  mkdirSync(tree, { recursive: true });
  try {
    await run(
      [
        ...['unshare', '--mount', '--propagation=private', 'mmdebstrap', '--quiet', '--mode=root'],
        ...['--variant=extract', `--include=${source}`, 'trixie', packages],
        ...['trixie', release].map((suite) => `deb http://deb.debian.org/debian ${suite} main`),
      ],
      { timeout: 300 },
    );
    writeFileSync(join(tree, 'features'), features.map((name) => `CONFIG_${name}=y\n`).join(''));
    await run(['sh', '-c', script, 'sh', tree], { timeout: 1800 }, 'the build of the kernel');
    await run(['mv', join(tree, 'linux'), path]);
  } finally {
    removeTree(work);
  }
}
