import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mountControlGroups, removeControlGroup } from './control-group.ts';
import { tail } from './shell.ts';
import { waitFor } from './wait.ts';

/** What a machine boots from. */
export interface Disk {
  /** The directory with what the machine wrote: `upper` over the root file system, and `docker`. */
  directory: string;
  /** The read-only layers of the root file system below, separated by colons, the topmost first. */
  lower: string;
}

/** A machine that has been started. */
export interface Machine {
  /** The argv that runs `argv` inside it, as root with a clean environment. */
  enter(argv: string[]): string[];
  /** The process id of its PID 1 on this machine. */
  leader: number;
  /** Whether it is off, by `kill` or by itself. */
  isOff(): boolean;
  /** Ends every process of it at once, as a power cut would. */
  kill(): Promise<void>;
}

const repository = fileURLToPath(new URL('../../../', import.meta.url));

const environment = [
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  'HOME=/root',
  'USER=root',
  'LANG=C.UTF-8',
  'TERM=dumb',
];

// nspawn has a mount and a process namespace of its own: all that is made in them goes when it goes, however it goes.
const startScript = `
  set -eu
  group=$1 disk=$2 lower=$3; shift 3
  ${mountControlGroups}
  mkdir -p "/sys/fs/cgroup/$group"
  parent="/sys/fs/cgroup/\${group%/*}"
  for controller in $(cat "$parent/cgroup.controllers"); do
    echo "+$controller" > "$parent/cgroup.subtree_control" || :
  done
  echo 0 > "/sys/fs/cgroup/$group/cgroup.procs"
  # nspawn keeps a directory for each machine name here, and names are only unique in a session.
  mkdir -p /run/systemd/nspawn
  mount -t tmpfs tmpfs /run/systemd/nspawn
  mount -t overlay -o "lowerdir=$lower,upperdir=$disk/upper,workdir=$disk/work" overlay "$disk/root"
  exec systemd-nspawn --directory="$disk/root" "$@"
`;

// The first command makes the group; thousands follow.
const enterScript = `
  { echo $$ > "$1/cgroup.procs"; } 2>/dev/null || { mkdir -p "$1"; echo $$ > "$1/cgroup.procs"; }
  shift
  exec nsenter "$@"
`;

function nspawnArguments(name: string, namespace: string, { directory }: Disk): string[] {
  const npm = join(dirname(process.execPath), '../lib/node_modules/npm');
  return [
    '--quiet',
    `--machine=${name}`,
    `--hostname=${name}`,
    `--uuid=${randomUUID()}`,
    '--boot',
    '--keep-unit',
    '--register=no',
    '--settings=no',
    '--link-journal=no',
    '--resolv-conf=off',
    '--timezone=off',
    '--capability=all',
    '--system-call-filter=add_key keyctl bpf perf_event_open pidfd_getfd @mount',
    `--network-namespace-path=/run/netns/${namespace}`,
    `--bind=${directory}/docker:/var/lib/docker`,
    `--bind-ro=${repository}:/src/wormhole`,
    `--bind-ro=${process.execPath}:/usr/local/bin/node`,
    ...(existsSync(npm) ? [`--bind-ro=${npm}:/usr/local/lib/node_modules/npm`] : []),
  ];
}

/**
 * Powers on a machine: systemd-nspawn on `disk`, in the network namespace `namespace` and the control group
 * `group`, whose last part is its host name. Returns as soon as its PID 1 runs; what it prints goes to
 * `console` in the disk's directory. The machine dies with this process.
 */
export async function powerOn(group: string, namespace: string, disk: Disk): Promise<Machine> {
  const name = group.slice(group.lastIndexOf('/') + 1);
  const consolePath = join(disk.directory, 'console');
  const console = openSync(consolePath, 'a');
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig=KILL', 'unshare', '--mount', '--propagation=private', '--pid', '--mount-proc'],
      ...['--fork', '--kill-child', 'sh', '-c', startScript, 'sh'],
      ...[group, disk.directory, disk.lower, ...nspawnArguments(name, namespace, disk)],
    ],
    {
      detached: true,
      stdio: ['ignore', console, console],
      env: {
        ...process.env,
        SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1',
        // Docker switches on ip_forward in its namespace.
        SYSTEMD_NSPAWN_API_VFS_WRITABLE: 'network',
      },
    },
  );
  // Not even a machine that a test forgot keeps this process from ending.
  child.unref();
  closeSync(console);
  let off = false;
  child.on('exit', () => {
    removeControlGroup(group);
    off = true;
  });
  const leader = await waitFor(() => off || leaderOf(child.pid ?? 0), {
    timeout: 20,
    what: `PID 1 of ${name}`,
  });
  if (leader === true)
    throw new Error(`nspawn ended at once:\n${tail(readFileSync(consolePath, 'utf8'), 20)}`);
  return {
    leader,
    isOff: () => off,
    enter: (argv) => [
      // In the machine's control group a command's processes count as its own, and end with it. -r: where this process
      // is in a chroot, the mount namespace's own root is not the machine's.
      ...['sh', '-c', enterScript, 'sh'],
      `/proc/${child.pid}/root/sys/fs/cgroup/${group}/payload/lab`,
      ...['-t', `${leader}`, '-m', '-u', '-i', '-n', '-p', '-C', '-r', '--'],
      ...['env', '-i', '-C', '/root', ...environment, ...argv],
    ],
    async kill() {
      removeControlGroup(group);
      await waitFor(() => off, { what: `the end of ${name}` });
    },
  };
}

/** Returns the child of the child of `unshare` that is PID 1 of a machine, or undefined while there is none. */
function leaderOf(unshare: number): number | undefined {
  const pid = childOf(childOf(unshare));
  if (!pid) return undefined;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return /^Name:\tsystemd$/m.test(status) && /^NSpid:.*\t1$/m.test(status) ? pid : undefined;
}

/** Returns the only child of `pid`, or NaN when there are more or none. */
function childOf(pid: number): number {
  return pid
    ? Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim() || Number.NaN)
    : Number.NaN;
}
