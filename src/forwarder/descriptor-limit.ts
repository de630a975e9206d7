import { getrlimit, pinned, RLIMIT_NOFILE } from './syscalls.js';

/**
 * Descriptors that a connection may need: two sockets, and two pipes of two when both directions are blocked.
 */
const FDS_A_CONNECTION = 6;

/** Descriptors for everything else: about 20 of Node's own, epoll, the listening sockets. */
const FDS_APART = 40;

/** Descriptors of a worker: some 6 of Node's own, epoll, both ends of its channel, its notes and two generations of its sessions. */
export const FDS_A_WORKER = 20;

/** The soft limit of file descriptors. Node has raised it to the hard limit, LimitNOFILE= of the unit. */
export function descriptorLimit(): number {
  const limit = pinned(16);
  getrlimit(RLIMIT_NOFILE, limit.address);
  return Number(limit.bytes.readBigUInt64LE(0));
}

/**
 * How many connections are certain to progress, whatever their peers do. With fewer descriptors than pipes,
 * two connections could wait for each other.
 */
export function connectionsFor(limit: number): number {
  return Math.max(1, Math.floor((limit - FDS_APART) / FDS_A_CONNECTION));
}

/** How many sessions of datagrams there can be, each with a descriptor or two, without keeping connections from having theirs. */
export function sessionsFor(limit: number): number {
  return Math.max(1, Math.floor((limit - FDS_APART) / 2));
}
