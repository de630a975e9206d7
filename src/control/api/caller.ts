import type { Socket } from 'node:net';
import { peerUid } from './socket-options.js';

/**
 * Who makes a request: a user of this machine, or another machine. Of the latter, `address` is its own and `local` the
 * one of ours that it called, which is the one that faces it; both without brackets, IPv4 as IPv4.
 */
export type Caller = { kind: 'user'; uid: number } | { kind: 'machine'; address: string; local: string };

/** Who is at the other end of a connection to the daemon. @throws Error when the connection is gone */
export function callerOf(socket: Socket): Caller {
  const { remoteAddress, localAddress } = socket;
  if (remoteAddress !== undefined && localAddress !== undefined)
    return { kind: 'machine', address: unmapped(remoteAddress), local: unmapped(localAddress) };
  return { kind: 'user', uid: peerUid(descriptorOf(socket)) };
}

/** The file descriptor of a connection, which node has no name for; -1 when it is gone. */
export function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: number } };
  return handle?.fd ?? -1;
}

/** A caller for the journal: `10.0.0.2`, `uid 0`. */
export function callerText(caller: Caller): string {
  return caller.kind === 'user' ? `uid ${caller.uid}` : caller.address;
}

/** A client of a socket on [::] that speaks IPv4 is ::ffff:10.0.0.2 to it. */
export function unmapped(address: string): string {
  return address.replace(/^::ffff:(?=[0-9.]+$)/, '');
}
