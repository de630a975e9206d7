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

/** A pipe that holds the bytes in flight between two sockets. */
export interface Pipe {
  /** Identifies it among the pipes that this process has had. */
  readonly id: number;
  readonly out: number;
  /** -1 if it is the pipe of an earlier process: then no more bytes can be put into it. */
  readonly into: number;
  /** Its capacity in bytes (F_GETPIPE_SZ, fcntl(2)). Only the pool changes it. */
  size: number;
  /** The newest generation of stored sessions that holds it, or 0 (see store/store.ts). */
  generation: number;
}

/**
 * A pool of empty pipes. The most recently released one is acquired first, because its kernel memory is still
 * in the cache of the processor; and a large one before any other, because a bulk stream moves more with one
 * call.
 *
 * An unprivileged user may hold 16,384 pages in pipes before new ones shrink to two pages
 * (pipe-user-pages-soft, pipe(7)). Therefore a direction holds a pipe only while bytes are in flight, and the
 * pool keeps no pipe that has shrunk.
 */
export interface Pool {
  /** Empty large pipes. */
  readonly large: Pipe[];
  /** Empty pipes of other sizes. */
  readonly small: Pipe[];
  /** The most empty pipes kept. Further ones are closed when they are released. */
  readonly keep: number;
  /** The most large pipes, and how many exist. */
  readonly most: number;
  largeMade: number;
  /**
   * How many pipes are still acquired before a large one is tried again, after the kernel has refused one.
   */
  refusal: number;
  /** The id of the newest pipe. */
  lastId: number;
}

/** The most empty pipes that a process keeps. */
const KEPT_PIPES = 64;

/** The most large pipes of a process: a quarter of the pages that an unprivileged user may hold. */
const LARGE_PIPES = 32;
const LARGE_BYTES = 1 << 19;

/**
 * The capacity of a new pipe while its user holds few pages: 16 pages of 4 KiB (PIPE_DEF_BUFFERS,
 * linux/pipe_fs_i.h).
 */
const USUAL_BYTES = 1 << 16;

/** How many pipes are acquired between two attempts at a large one after the kernel has refused it. */
const REFUSAL_PAUSE = 256;

const fds = pinned(8);

/**
 * Creates a pool that keeps at most `keep` empty pipes, one of `shares` pools of the process. One is created at once: if the kernel
 * never creates another, it still serves every flow that does not block, and sees the ends of connections, which frees
 * descriptors.
 */
export function createPool(keep = KEPT_PIPES, shares = 1): Pool {
  const pool: Pool = {
    large: [],
    small: [],
    keep: Math.ceil(keep / shares),
    most: Math.ceil(LARGE_PIPES / shares),
    largeMade: 0,
    refusal: 0,
    lastId: 0,
  };
  const first = make(pool);
  if (first !== undefined) release(pool, first);
  return pool;
}

/** Returns an empty pipe, or undefined if the kernel creates no more (EMFILE, ENFILE, ENOMEM: pipe2(2)). */
export function acquire(pool: Pool): Pipe | undefined {
  const large = pool.large.pop();
  if (large !== undefined) return large;
  const pipe = pool.small.pop();
  if (pipe === undefined) return make(pool);
  enlarge(pool, pipe);
  return pipe;
}

/** Whether a pipe can be acquired without creating one. */
export function hasSpare(pool: Pool): boolean {
  return pool.large.length + pool.small.length > 0;
}

/** Returns an empty pipe to the pool. */
export function release(pool: Pool, pipe: Pipe): void {
  const { large, small, keep } = pool;
  if (pipe.into < 0) {
    discard(pool, pipe);
    return;
  }
  const isFull = large.length + small.length >= keep;
  if (pipe.size >= LARGE_BYTES) {
    // A large pipe replaces a smaller one.
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

/** Closes a pipe, discarding the bytes in it. */
export function discard(pool: Pool, pipe: Pipe): void {
  close(pipe.out);
  if (pipe.into >= 0) close(pipe.into);
  if (pipe.size >= LARGE_BYTES) pool.largeMade -= 1;
}

/** Takes a pipe that holds bytes away from a pool. Returns its end for reading; nothing can be put into it any more. */
export function detachPipe(pool: Pool, { out, into, size }: Pipe): number {
  if (into >= 0) close(into);
  if (size >= LARGE_BYTES) pool.largeMade -= 1;
  return out;
}

function make(pool: Pool): Pipe | undefined {
  if (pipe2(fds.address, O_CLOEXEC | O_NONBLOCK) < 0) return undefined;
  const pipe = createPipe(pool, fds.words[0] as number, fds.words[1] as number);
  if (!enlarge(pool, pipe)) pipe.size = fcntl(pipe.into, F_GETPIPE_SZ, 0);
  return pipe;
}

/** A pipe that consists of these ends. Those of an earlier process have only `out`, and are never enlarged. */
export function createPipe(pool: Pool, out: number, into = -1): Pipe {
  pool.lastId += 1;
  return { id: pool.lastId, out, into, size: 0, generation: 0 };
}

/**
 * Enlarges an empty pipe while the pool has too few large ones and the kernel allows it (EPERM: fcntl(2)).
 * Returns whether it did.
 */
function enlarge(pool: Pool, pipe: Pipe): boolean {
  if (pool.largeMade >= pool.most) return false;
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
