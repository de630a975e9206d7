import koffi from 'koffi';

/** Operations of flock(2), linux/fcntl.h, that fail with EWOULDBLOCK instead of waiting. */
const LOCK_SHARED = 1 | 4;
const LOCK_EXCLUSIVE = 2 | 4;

type Flock = (fd: number, operation: number) => number;
let flock: Flock | undefined;

/** Locks an open file until its descriptor is closed. False when another process has locked it. */
export function tryLock(fd: number): boolean {
  return call(fd, LOCK_EXCLUSIVE);
}

/** Whether nobody has locked an open file at this moment. */
export function isUnlocked(fd: number): boolean {
  return call(fd, LOCK_SHARED);
}

/** Node has no name for flock(2). */
function call(fd: number, operation: number): boolean {
  flock ??= koffi.load('libc.so.6').func('int flock(int fd, int operation)') as Flock;
  return flock(fd, operation) === 0;
}
