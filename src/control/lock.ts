import { closeSync, mkdirSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import koffi from 'koffi';

/** What wormhole keeps until the next boot. */
export const RUN_DIR = '/run/wormhole';

/** flock(2), linux/fcntl.h: an exclusive lock, or EWOULDBLOCK at once. */
const LOCK_EX_NB = 2 | 4;
const LOCK_SH_NB = 1 | 4;
const POLL_MS = 20;
const PATIENCE_MS = 300_000;

/**
 * What is done by one at a time: `links` makes and takes away links, `namespaces` mounts a namespace anew, `tunnels` changes
 * what the kernel and the units have of tunnels, `asking` asks another machine for a tunnel. Whoever holds `asking` may
 * take `tunnels`, and never the other way round.
 */
export type LockName = 'links' | 'namespaces' | 'tunnels' | 'asking';

/**
 * Runs `work` while no other process on this machine does anything under the lock of that name.
 *
 * The lock is the kernel's (flock(2), which node does not have), so it ends with its holder, however that ends.
 *
 * @throws Error when others hold it for 5 minutes; what `work` throws
 */
export async function withLock<T>(name: LockName, work: () => Promise<T>): Promise<T> {
  const fd = openLock(name);
  try {
    const end = Date.now() + PATIENCE_MS;
    while (!tryLock(fd)) {
      if (Date.now() > end)
        throw new Error(
          `another wormhole command has held ${RUN_DIR}/${name}.lock for 5 minutes; is it stuck?`,
        );
      await sleep(POLL_MS * (0.5 + Math.random()));
    }
    return await work();
  } finally {
    closeSync(fd);
  }
}

/** Locks an open file until its descriptor is closed, unless another process has it locked: then false. */
export function tryLock(fd: number, operation = LOCK_EX_NB): boolean {
  flock ??= koffi.load('libc.so.6').func('int flock(int fd, int operation)') as Flock;
  return flock(fd, operation) === 0;
}

type Flock = (fd: number, operation: number) => number;
let flock: Flock | undefined;

/** Whether somebody holds a lock at this moment. */
export function isLocked(name: LockName): boolean {
  const fd = openLock(name);
  try {
    return !tryLock(fd, LOCK_SH_NB);
  } finally {
    closeSync(fd);
  }
}

function openLock(name: LockName): number {
  mkdirSync(RUN_DIR, { recursive: true, mode: 0o755 });
  return openSync(`${RUN_DIR}/${name}.lock`, 'a', 0o600);
}
