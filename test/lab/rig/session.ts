import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory } from './cache.ts';
import { removeControlGroup } from './control-group.ts';
import { allowInotifyInstances } from './inotify.ts';
import { removeNamespaces } from './network.ts';
import { removeTree } from './shell.ts';

// A session is one process that uses the lab. All that it makes is called after it, so that two of them do not get
// in each other's way, and a later one can clear up after one that was killed.

const sessions = join(cacheDirectory, 'sessions');

/**
 * What this process's directory, network namespaces and control group are called: `lab-PID.START`. The name alone says which process
 * they are of, so another one can tell from the first moment that they are in use.
 */
export const sessionName = `lab-${process.pid}.${startOf(process.pid)}`;

/** The directory for this process's state. `openSession` makes it; it goes when the process ends. */
export const sessionDirectory = join(sessions, sessionName);

let open = false;

/** Removes what dead sessions have left, lets many hosts run at once, and sees to it that nothing of this one is left when the process ends. */
export function openSession(): void {
  if (open) return;
  open = true;
  sweepDeadSessions();
  allowInotifyInstances();
  mkdirSync(sessionDirectory, { recursive: true });
  process.on('exit', () => removeSession(sessionName));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));
}

/** Removes the processes, namespaces, control groups and files of every session whose process is gone. */
export function sweepDeadSessions(): void {
  if (!existsSync(sessions)) return;
  for (const name of readdirSync(sessions)) if (!isAlive(name)) removeSession(name);
}

function isAlive(name: string): boolean {
  const [, pid, start] = /^lab-(\d+)\.(\d+)$/.exec(name) ?? [];
  try {
    return pid !== undefined && startOf(Number(pid)) === start;
  } catch {
    return false;
  }
}

/** When process `pid` was started, in clock ticks since the boot (proc(5)), which tells it from an earlier one with the same id. */
function startOf(pid: number): string | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

function removeSession(name: string): void {
  removeControlGroup(name);
  removeNamespaces(name);
  removeTree(join(sessions, name));
}
