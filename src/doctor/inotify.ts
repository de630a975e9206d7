import { readdirSync, readFileSync, readlinkSync, statSync, watch } from 'node:fs';
import type { Check } from './facts.js';
import type { Finding } from './finding.js';

/** Limits of inotify(7), for each user. */
const DIRECTORY = '/proc/sys/fs/inotify';

/** What a watch fails with: no instance left, or no watch. */
export type WatchFailure = 'EMFILE' | 'ENOSPC';

/** Whether the kernel has inotify instances and watches left for root: by them links follow containers, and files are applied. */
export const inotifyCheck: Check = {
  name: 'inotify',
  async find({ units }) {
    const paths = [...units].some(
      ([unit, { active }]) => unit.endsWith('.path') && ['active', 'failed'].includes(active),
    );
    const failure = paths ? await tryWatch() : undefined;
    if (failure === undefined) return [];
    return [inotifyFinding(failure, { limit: limitOf(failure), used: usedInstances() })];
  },
};

/** What to say of a watch that has failed. `used` are the instances that root has, as far as they can be counted. */
export function inotifyFinding(
  failure: WatchFailure,
  { limit, used }: { limit: number; used: number },
): Omit<Finding, 'check'> {
  const [setting, what] =
    failure === 'EMFILE'
      ? ['max_user_instances', `instance left for root: programs use ${used} of ${limit}`]
      : ['max_user_watches', `watch left for root, of ${limit}`];
  return {
    subject: `fs.inotify.${setting}`,
    problem: `there is no inotify ${what}, so that path units fail, and links do not follow containers`,
    advice: `sysctl -w fs.inotify.${setting}=${Math.max(1024, limit * 4)} && systemctl restart wormhole-sync.path, and the same in /etc/sysctl.d`,
  };
}

function tryWatch(): Promise<WatchFailure | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (error: NodeJS.ErrnoException) => {
      if (error.code === 'EMFILE' || error.code === 'ENOSPC') resolve(error.code);
      else reject(error);
    };
    try {
      const watcher = watch('/run');
      watcher.on('error', settle);
      setImmediate(() => {
        watcher.close();
        resolve(undefined);
      });
    } catch (error) {
      settle(error as NodeJS.ErrnoException);
    }
  });
}

function limitOf(failure: WatchFailure): number {
  const name = failure === 'EMFILE' ? 'max_user_instances' : 'max_user_watches';
  return Number(readFileSync(`${DIRECTORY}/${name}`, 'utf8'));
}

function usedInstances(): number {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.reduce((sum, pid) => sum + instancesOf(pid), 0);
}

function instancesOf(pid: string): number {
  try {
    if (statSync(`/proc/${pid}`).uid !== 0) return 0;
    const directory = `/proc/${pid}/fd`;
    const links = readdirSync(directory).map((fd) => readlinkSync(`${directory}/${fd}`));
    return links.filter((link) => link === 'anon_inode:inotify').length;
  } catch {
    // The process has ended meanwhile.
    return 0;
  }
}
