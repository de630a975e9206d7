import type { Socket } from 'node:net';
import { unmapped } from './caller.js';

/** How many connections that have not proved the key yet are kept: of one network, and of all. */
export interface CrowdLimits {
  network: number;
  all: number;
}

/** The connections whose callers have not proved the key yet. */
export interface Crowd {
  /** A connection has been accepted. */
  enter(socket: Socket): void;
  /** The caller at the other end of this connection has proved the key. */
  know(socket: Socket): void;
  /** Why the handshake on this connection failed, for the journal. */
  explain(socket: Socket, reason: string): void;
}

interface Stranger {
  name: string;
  socket: Socket;
  address: string;
  network: string;
  known: boolean;
  reason: string;
}

/**
 * Bounds the strangers at the door. When there are too many, the one that has waited longest is turned out, of the same
 * network or else of the most numerous one: a good caller needs a few milliseconds to prove itself, so it gets through
 * even beside a thousand that never do, be they at its own address.
 *
 * @param refused is told of each connection that ends before its caller has proved the key
 */
export function createCrowd(limits: CrowdLimits, refused: (address: string, reason: string) => void): Crowd {
  const strangers = new Map<string, Stranger>();
  const networks = new Map<string, Set<Stranger>>();

  const leave = (stranger: Stranger) => {
    strangers.delete(stranger.name);
    const others = networks.get(stranger.network);
    others?.delete(stranger);
    if (others?.size === 0) networks.delete(stranger.network);
  };
  const turnOut = (stranger: Stranger) => {
    leave(stranger);
    stranger.reason = 'had too many connections open without proving the key';
    stranger.socket.destroy();
  };

  return {
    enter(socket) {
      const name = nameOf(socket);
      if (name === undefined) return;
      const address = unmapped(socket.remoteAddress ?? '');
      const stranger: Stranger = {
        name,
        socket,
        address,
        network: networkOf(address),
        known: false,
        reason: 'went away, or was silent for too long, before it had proved the key',
      };
      const others = networks.get(stranger.network) ?? new Set();
      if (others.size >= limits.network) turnOut(oldest(others));
      else if (strangers.size >= limits.all) turnOut(oldest(largest(networks)));
      networks.set(stranger.network, others.add(stranger));
      strangers.set(name, stranger);
      socket.once('close', () => {
        if (stranger.known) return;
        leave(stranger);
        refused(address, stranger.reason);
      });
    },
    know(socket) {
      const stranger = strangers.get(nameOf(socket) ?? '');
      if (!stranger) return;
      stranger.known = true;
      leave(stranger);
    },
    explain(socket, reason) {
      const stranger = strangers.get(nameOf(socket) ?? '');
      if (stranger) stranger.reason = reason;
    },
  };
}

/** What a connection and the TLS connection over it have in common; undefined when it is gone. */
function nameOf({ remoteAddress, remotePort, localAddress }: Socket): string | undefined {
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort} ${localAddress}`;
}

/** Who has one IPv6 address has its whole /64 (RFC 6177). */
function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail = ''] = address.replace(/%.*/, '').split('::');
  const groups = head === '' ? [] : head.split(':');
  const missing = 8 - groups.length - (tail === '' ? 0 : tail.split(':').length);
  return [...groups, ...Array<string>(address.includes('::') ? missing : 0).fill('0')].slice(0, 4).join(':');
}

function oldest(strangers: Set<Stranger>): Stranger {
  return strangers.values().next().value as Stranger;
}

function largest(networks: Map<string, Set<Stranger>>): Set<Stranger> {
  return [...networks.values()].reduce((one, other) => (other.size > one.size ? other : one));
}
