import { close, F_SETPIPE_SZ, fcntl, O_CLOEXEC, O_NONBLOCK, pinned, pipe2 } from './syscalls.js';

/** A pipe: bytes in flight between two sockets. */
export interface Pipe {
  readonly out: number;
  readonly into: number;
}

/**
 * Empty pipes to lend. The one that was given back last is lent first, because its kernel memory is still in the
 * processor's cache.
 *
 * A user without privileges may hold 16,384 pages of pipe buffers before new pipes shrink to two pages
 * (pipe-user-pages-soft, pipe(7)); therefore only a direction with bytes in flight has a pipe.
 */
export interface Pool {
  readonly spare: Pipe[];
  /** How many empty pipes are kept; more are closed when they come back. */
  readonly keep: number;
  /** Pipes made and not closed. */
  made: number;
}

/** The first pipes of a pool are made larger: a bulk stream moves more with one call. */
const LARGE_PIPES = 16;
const LARGE_BYTES = 1 << 19;

const fds = pinned(8);

/**
 * A pool that keeps at most `keep` spare pipes. One is made at once: should the kernel make no other, it serves all
 * whose bytes go on at once, and sees the ends of connections, which frees descriptors.
 */
export function createPool(keep = 64): Pool {
  const pool: Pool = { spare: [], keep, made: 0 };
  const first = make(pool);
  if (first !== undefined) giveBack(pool, first);
  return pool;
}

/** An empty pipe, or undefined when the kernel makes no more (EMFILE, ENFILE: pipe2(2)). */
export function borrow(pool: Pool): Pipe | undefined {
  return pool.spare.pop() ?? make(pool);
}

/** Takes back a pipe that is empty. */
export function giveBack(pool: Pool, pipe: Pipe): void {
  if (pool.spare.length < pool.keep) pool.spare.push(pipe);
  else discard(pool, pipe);
}

/** Closes a pipe, and with it forgets the bytes that are still in it. */
export function discard(pool: Pool, pipe: Pipe): void {
  close(pipe.out);
  close(pipe.into);
  pool.made -= 1;
}

function make(pool: Pool): Pipe | undefined {
  if (pipe2(fds.address, O_CLOEXEC | O_NONBLOCK) < 0) return undefined;
  const pipe = { out: fds.words[0] as number, into: fds.words[1] as number };
  // May be refused (EPERM) to a user who holds many pages already; a smaller pipe is slower and nothing else.
  if (pool.made < LARGE_PIPES) fcntl(pipe.into, F_SETPIPE_SZ, LARGE_BYTES);
  pool.made += 1;
  return pipe;
}
