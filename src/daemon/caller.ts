import type { Socket } from 'node:net';
import { Failure } from '../api/failure.js';
import { descriptorOf, peerCredentials } from '../system/socket-options.js';
import { unmapIPv4 } from '../text/ip-address.js';
import { provedMachine } from './session.js';

/**
 * The sender of a request: a user of this machine, or another machine. For a machine, `id` is the one that it has proved,
 * `address` its own address, and `local` the one of ours that it called, which is the one that faces it; both without brackets,
 * IPv4 as IPv4.
 */
export type Caller = { kind: 'user'; uid: number } | MachineCaller;

/** Another machine that sends a request. */
export type MachineCaller = { kind: 'machine'; id: string; address: string; local: string };

/**
 * The caller at the other end of a connection to the daemon.
 *
 * @throws Failure when it is a machine that has not proved who it is, or is refused; Error when the connection is closed
 */
export function callerOf(socket: Socket): Caller {
  const { remoteAddress, localAddress } = socket;
  if (remoteAddress !== undefined && localAddress !== undefined)
    return {
      kind: 'machine',
      id: provedMachine(socket),
      address: unmapIPv4(remoteAddress),
      local: unmapIPv4(localAddress),
    };
  return { kind: 'user', uid: peerCredentials(descriptorOf(socket)).uid };
}

/** A caller for the journal: `10.0.0.2 (5f0c1e9b)`, with the beginning of its id, or `uid 0`. */
export function callerText(caller: Caller): string {
  return caller.kind === 'user' ? `uid ${caller.uid}` : `${caller.address} (${caller.id.slice(0, 8)})`;
}

/** Makes sure that a caller is another machine. @throws Failure with `message` */
export function requireMachine(caller: Caller, message: string): MachineCaller {
  if (caller.kind === 'machine') return caller;
  throw new Failure('usage', message, 403);
}
