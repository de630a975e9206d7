import type { Socket } from 'node:net';
import { unmapIPv4 } from '../text/ip-address.js';

/** How many connections without a proved key are kept: of one network, and of all. */
export interface ConnectionLimits {
  network: number;
  all: number;
}

/** Limits the connections whose callers have not proved the key yet. */
export interface ConnectionLimiter {
  /** A connection has been accepted. */
  add(socket: Socket): void;
  /** The caller at the other end of this connection has proved the key. */
  exempt(socket: Socket): void;
  /** Records why the handshake on this connection failed, for the journal. */
  explain(socket: Socket, reason: string): void;
}

interface Unproved {
  name: string;
  socket: Socket;
  address: string;
  network: string;
  exempt: boolean;
  reason: string;
}

/**
 * When there are too many connections without a proved key, the oldest is closed, of the same network or else of the network
 * with the most: an honest caller proves the key within milliseconds, so it gets through even beside a thousand that never
 * do, even from the same address.
 *
 * @param refused called for each connection that ends before its caller has proved the key
 */
export function createConnectionLimiter(
  limits: ConnectionLimits,
  refused: (address: string, reason: string) => void,
): ConnectionLimiter {
  const connections = new Map<string, Unproved>();
  const networks = new Map<string, Set<Unproved>>();

  const remove = (connection: Unproved) => {
    connections.delete(connection.name);
    const others = networks.get(connection.network);
    others?.delete(connection);
    if (others?.size === 0) networks.delete(connection.network);
  };
  const close = (connection: Unproved) => {
    remove(connection);
    connection.reason = 'had too many connections open without proving the key';
    connection.socket.destroy();
  };

  return {
    add(socket) {
      const name = nameOf(socket);
      if (name === undefined) return;
      const address = unmapIPv4(socket.remoteAddress ?? '');
      const connection: Unproved = {
        name,
        socket,
        address,
        network: networkOf(address),
        exempt: false,
        reason: 'went away, or was silent for too long, before it had proved the key',
      };
      const others = networks.get(connection.network) ?? new Set();
      if (others.size >= limits.network) close(oldest(others));
      else if (connections.size >= limits.all) close(oldest(largest(networks)));
      networks.set(connection.network, others.add(connection));
      connections.set(name, connection);
      socket.once('close', () => {
        if (connection.exempt) return;
        remove(connection);
        refused(address, connection.reason);
      });
    },
    exempt(socket) {
      const connection = connections.get(nameOf(socket) ?? '');
      if (!connection) return;
      connection.exempt = true;
      remove(connection);
    },
    explain(socket, reason) {
      const connection = connections.get(nameOf(socket) ?? '');
      if (connection) connection.reason = reason;
    },
  };
}

/** What a connection and the TLS connection over it have in common; undefined when it is closed. */
function nameOf({ remoteAddress, remotePort, localAddress }: Socket): string | undefined {
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort} ${localAddress}`;
}

/** A host with one IPv6 address has its whole /64 (RFC 6177). */
function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail = ''] = address.replace(/%.*/, '').split('::');
  const groups = head === '' ? [] : head.split(':');
  const missing = 8 - groups.length - (tail === '' ? 0 : tail.split(':').length);
  return [...groups, ...Array<string>(address.includes('::') ? missing : 0).fill('0')].slice(0, 4).join(':');
}

function oldest(connections: Set<Unproved>): Unproved {
  return connections.values().next().value as Unproved;
}

function largest(networks: Map<string, Set<Unproved>>): Set<Unproved> {
  return [...networks.values()].reduce((one, other) => (other.size > one.size ? other : one));
}
