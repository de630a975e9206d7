import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeDirectory } from '../system/files.js';
import { isUnlocked, tryLock } from '../system/flock.js';

/** Where Wormhole keeps what lasts until the next boot. */
export const RUN_DIR = '/run/wormhole';

const POLL_MS = 20;
const TIMEOUT_MS = 300_000;

/**
 * What only one process does at a time: `links` creates and deletes links, `namespaces` mounts a namespace again, `tunnels`
 * changes what the kernel and the units have of tunnels, `asking-ID` negotiates a tunnel with the machine of that id. A holder of
 * `asking-ID` may take `tunnels`, but not the other way round. `traffic` saves counters, and may be taken by a holder of any other.
 * `published` is for what this machine publishes. A holder of `service-refresh-ID`, which has the machines of the services of a link looked up,
 * may take `links`.
 */
export type LockName =
  | 'links'
  | 'namespaces'
  | 'tunnels'
  | `asking-${string}`
  | 'traffic'
  | 'published'
  | 'registration'
  | `service-refresh-${string}`;

/**
 * Runs `work` while no other process on this machine does anything under the lock of that name.
 *
 * The kernel holds the lock (flock(2)), so it ends with its holder, however that ends.
 *
 * @throws Error when others hold it for 5 minutes; what `work` throws
 */
export async function withLock<T>(name: LockName, work: () => Promise<T>): Promise<T> {
  const fd = openLock(name);
  try {
    const end = performance.now() + TIMEOUT_MS;
    while (!tryLock(fd)) {
      if (performance.now() > end)
        throw new Error(
          `another wormhole command has held ${RUN_DIR}/${name}.lock for 5 minutes: lslocks shows which; is it stuck?`,
        );
      await sleep(POLL_MS * (0.5 + Math.random()));
    }
    return await work();
  } finally {
    closeSync(fd);
  }
}

/** Whether some process holds a lock at this moment. */
export function isLocked(name: LockName): boolean {
  const fd = openLock(name);
  try {
    return !isUnlocked(fd);
  } finally {
    closeSync(fd);
  }
}

function openLock(name: LockName): number {
  makeDirectory(RUN_DIR);
  return openSync(`${RUN_DIR}/${name}.lock`, 'a', 0o600);
}
