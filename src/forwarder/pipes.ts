import {
  close,
  F_GETPIPE_SZ,
  F_SETPIPE_SZ,
  fcntl,
  O_CLOEXEC,
  O_NONBLOCK,
  pinned,
  pipe2,
} from './syscalls.js';

/** A pipe: bytes in flight between two sockets. */
export interface Pipe {
  readonly out: number;
  readonly into: number;
  /** Bytes of page-sized buffers that it holds (F_GETPIPE_SZ, fcntl(2)). Changed by the pool only. */
  size: number;
}

/**
 * Empty pipes to lend. The one that was given back last is lent first, because its kernel memory is still in the
 * processor's cache; and a large one before any other, because a bulk stream moves more with one call.
 *
 * A user without privileges may hold 16,384 pages of pipe buffers before new pipes shrink to two pages
 * (pipe-user-pages-soft, pipe(7)); therefore only a direction with bytes in flight has a pipe, and of those that a burst
 * has made no shrunken one is kept.
 */
export interface Pool {
  /** Empty large pipes. */
  readonly large: Pipe[];
  /** Empty pipes of other sizes. */
  readonly small: Pipe[];
  /** How many empty pipes are kept; more are closed when they come back. */
  readonly keep: number;
  /** Large pipes made and not closed. */
  largeMade: number;
  /** Pipes to make before a large one is tried again: the kernel refuses them to a user who holds many pages. */
  refusal: number;
}

/** Large pipes of a pool: a quarter of the pages that an unprivileged user may hold. */
const LARGE_PIPES = 32;
const LARGE_BYTES = 1 << 19;

/** Size of a new pipe while its user holds few pages: 16 pages of 4 KiB (PIPE_DEF_BUFFERS, linux/pipe_fs_i.h). */
const USUAL_BYTES = 1 << 16;

/** Pipes borrowed between two attempts at a large one after the kernel has refused it. */
const REFUSAL_PAUSE = 256;

const fds = pinned(8);

/**
 * A pool that keeps at most `keep` spare pipes. One is made at once: should the kernel make no other, it serves all
 * whose bytes go on at once, and sees the ends of connections, which frees descriptors.
 */
export function createPool(keep = 64): Pool {
  const pool: Pool = { large: [], small: [], keep, largeMade: 0, refusal: 0 };
  const first = make(pool);
  if (first !== undefined) giveBack(pool, first);
  return pool;
}

/** An empty pipe, or undefined when the kernel makes no more (EMFILE, ENFILE: pipe2(2)). */
export function borrow(pool: Pool): Pipe | undefined {
  const large = pool.large.pop();
  if (large !== undefined) return large;
  const pipe = pool.small.pop();
  if (pipe === undefined) return make(pool);
  enlarge(pool, pipe);
  return pipe;
}

/** Whether a pipe can be lent without making one. */
export function hasSpare(pool: Pool): boolean {
  return pool.large.length + pool.small.length > 0;
}

/** Takes back a pipe that is empty. */
export function giveBack(pool: Pool, pipe: Pipe): void {
  const { large, small, keep } = pool;
  const isFull = large.length + small.length >= keep;
  if (pipe.size >= LARGE_BYTES) {
    // A large pipe is never closed while a smaller one could be closed instead.
    const other = isFull ? small.pop() : undefined;
    if (other !== undefined) discard(pool, other);
    if (!isFull || other !== undefined) large.push(pipe);
    else discard(pool, pipe);
  } else if (isFull || (pipe.size < USUAL_BYTES && hasSpare(pool))) {
    discard(pool, pipe);
  } else {
    small.push(pipe);
  }
}

/** Closes a pipe, and with it forgets the bytes that are still in it. */
export function discard(pool: Pool, pipe: Pipe): void {
  close(pipe.out);
  close(pipe.into);
  if (pipe.size >= LARGE_BYTES) pool.largeMade -= 1;
}

function make(pool: Pool): Pipe | undefined {
  if (pipe2(fds.address, O_CLOEXEC | O_NONBLOCK) < 0) return undefined;
  const pipe = { out: fds.words[0] as number, into: fds.words[1] as number, size: 0 };
  if (!enlarge(pool, pipe)) pipe.size = fcntl(pipe.into, F_GETPIPE_SZ, 0);
  return pipe;
}

/** Makes an empty pipe large while the pool has too few of those and the kernel allows it (EPERM: fcntl(2)). */
function enlarge(pool: Pool, pipe: Pipe): boolean {
  if (pool.largeMade >= LARGE_PIPES) return false;
  if (pool.refusal > 0) {
    pool.refusal -= 1;
    return false;
  }
  if (fcntl(pipe.into, F_SETPIPE_SZ, LARGE_BYTES) < LARGE_BYTES) {
    pool.refusal = REFUSAL_PAUSE;
    return false;
  }
  pipe.size = LARGE_BYTES;
  pool.largeMade += 1;
  return true;
}
