import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** The most workers: each costs some 9 MB of memory, and the descriptors of its pipes. */
export const MOST_WORKERS = 64;

/** How many threads relay: a number, or as many as the machine and the control group have processors for. */
export type Workers = number | 'auto';

/** Parses the value of --workers. Throws an Error that quotes it. */
export function parseWorkers(text: string): Workers {
  if (text === 'auto') return 'auto';
  const count = Number(text);
  if (/^\d+$/.test(text) && count >= 1 && count <= MOST_WORKERS) return count;
  throw new Error(`--workers "${text}" is neither auto nor a number from 1 to ${MOST_WORKERS}`);
}

/**
 * The number of threads: of "auto", the processors that the process may use (sched_getaffinity(2), which AllowedCPUs= of
 * systemd.resource-control(5) limits), and no more than the time which `limits`, files as cpu.max of the kernel's cgroup-v2, give it.
 */
export function countWorkers(workers: Workers, limits: readonly string[]): number {
  if (workers !== 'auto') return workers;
  return cpusWithin(
    availableParallelism(),
    limits.map((file) => {
      try {
        return readFileSync(file, 'utf8');
      } catch {
        // The control group has no such limit, or the machine has the older hierarchy.
        return '';
      }
    }),
  );
}

/**
 * How many processors the contents of files cpu.max leave of `cpus`: "150000 100000" says that 150 ms of 100 ms may be used, which
 * is two processors; "max 100000" and an empty file say nothing.
 */
export function cpusWithin(cpus: number, limits: readonly string[]): number {
  const allowed = limits.map((text) => {
    const [, quota, period] = /^(\d+) (\d+)\s*$/.exec(text) ?? [];
    return quota === undefined || Number(period) === 0
      ? Number.POSITIVE_INFINITY
      : Math.ceil(Number(quota) / Number(period));
  });
  return Math.max(1, Math.min(cpus, MOST_WORKERS, ...allowed));
}
