import type { Relay } from './connection.js';
import { AF_UNIX, E } from './syscalls.js';

/** Errors that retrying does not fix: policy, or a machine without this address family. */
const PERMANENT = new Set([E.EACCES, E.EPERM, E.EAFNOSUPPORT, E.EINVAL, E.EPROTONOSUPPORT, E.EPROTOTYPE]);

/** Errors of a machine that has no resources for another socket or for watching it. */
export const OUT_OF_RESOURCES = new Set([E.EMFILE, E.ENFILE, E.ENOBUFS, E.ENOMEM, E.ENOSPC]);

/** Whether further attempts are pointless. A resolver may find another address. */
export function isPermanent(relay: Relay, failure: number): boolean {
  if (relay.resolver !== undefined) return false;
  // A server creates its socket first and sets the mode then.
  return PERMANENT.has(failure) && !(failure === E.EACCES && relay.to?.family === AF_UNIX);
}

/** What a failed attempt to connect means, for people. `failure` is errno. */
export function describeFailure({ target, to, named }: Relay, failure: number): string {
  if (failure === E.EDESTADDRREQ && named !== undefined)
    return `no address of ${target} is known${named.problem === undefined ? '' : `: ${named.problem}`}`;
  if (failure === E.EDESTADDRREQ) return `no address of ${target} was learnt`;
  if (failure === E.ECONNREFUSED) return `${target} refused`;
  if (failure === E.ETIMEDOUT) return `${target} did not answer`;
  if (to?.family === AF_UNIX) return describeUnixFailure(target, failure);
  if (OUT_OF_RESOURCES.has(failure)) return `no socket to ${target} could be made`;
  return `${target} could not be reached`;
}

function describeUnixFailure(target: string, failure: number): string {
  if (failure === E.ENOENT) return `${target} did not exist`;
  if (failure === E.EAGAIN) return `${target} had a full backlog`;
  if (failure === E.EPROTOTYPE) return `${target} is a socket of another type`;
  if (failure === E.EACCES) return `${target} may not be used by the forwarder, which runs as nobody`;
  return `${target} could not be reached`;
}
