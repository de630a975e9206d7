import { readFileSync } from 'node:fs';

/**
 * Whether the kernel may choose a port as the source of a connection. A socket that connects to such a port of its own machine may
 * get that very port, and is then connected to itself (simultaneous open, RFC 9293, 3.5): the client would receive its own bytes, and
 * the service could not bind its port.
 */
export function isEphemeral(port: number): boolean {
  return port >= ephemeral.first && port <= ephemeral.last;
}

const ephemeral = ephemeralPorts();

function ephemeralPorts(): { first: number; last: number } {
  try {
    const [first, last] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split('\t');
    return { first: Number(first), last: Number(last) };
  } catch {
    return { first: 1024, last: 65535 };
  }
}
