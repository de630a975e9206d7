import { runSync } from './shell.ts';

/**
 * Shell lines that give the calling process, which has a mount namespace of its own, the whole cgroup v2 tree
 * at /sys/fs/cgroup. So a host finds the same there whichever mixture of cgroup v1 and v2 this machine mounts.
 */
export const mountControlGroups = `
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
`;

/** Kills every process in the control group `path` (as `lab-1.2/box`) and below, and removes it. None is no error. */
export function removeControlGroup(path: string): void {
  const script = `
    ${mountControlGroups}
    for try in $(seq 200); do
      # Another process may remove it at the same time.
      [ -d "/sys/fs/cgroup/$1" ] || exit 0
      { echo 1 > "/sys/fs/cgroup/$1/cgroup.kill"; } 2>/dev/null
      # A group stays busy for a moment after its last process has been killed.
      find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} + 2>/dev/null && exit 0
      sleep 0.05
    done
    echo "control group $1 stays busy" >&2
    exit 1
  `;
  const { status, stderr } = runSync([
    'unshare',
    '--mount',
    '--propagation=private',
    'sh',
    '-c',
    script,
    'sh',
    path,
  ]);
  if (status !== 0) throw new Error(stderr.trim());
}
