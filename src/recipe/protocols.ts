import { type IpProtocol, isUnix, type Protocol, type RecipeAddress } from './recipe.js';

/** What sockets of a protocol carry: bytes in a stream, single datagrams, or messages over a connection. */
export type Kind = 'stream' | 'datagram' | 'seqpacket';

const KINDS: Record<Protocol, Kind> = {
  tcp: 'stream',
  udp: 'datagram',
  unix: 'stream',
  unixgram: 'datagram',
  unixpacket: 'seqpacket',
};

/** The tails that clients of a head can be relayed to. */
const TAILS: Record<Protocol, Protocol[]> = {
  tcp: ['tcp', 'unix'],
  udp: ['udp', 'unixgram'],
  unix: ['tcp', 'unix'],
  unixgram: ['unixgram'],
  unixpacket: ['unixpacket'],
};

/** What the sockets of a protocol carry. */
export function kindOf(protocol: Protocol): Kind {
  return KINDS[protocol];
}

/** The protocols of the tails that a head of this protocol can lead to. */
export function tailsOf(head: Protocol): Protocol[] {
  return TAILS[head];
}

/** The protocol by which clients of a head reach a port; undefined when they cannot. */
export function ipProtocolFor(head: Protocol): IpProtocol | undefined {
  return TAILS[head].find((protocol) => protocol === 'tcp' || protocol === 'udp');
}

/** The protocols by which clients of a head with these addresses reach a port, without those that cannot. */
export function ipProtocolsFor(head: RecipeAddress[]): IpProtocol[] {
  return [...new Set(head.flatMap(({ protocol }) => ipProtocolFor(protocol) ?? []))];
}

/** The first of these addresses that has a host and a port; undefined when all are of unix sockets. */
export function ipAddressOf<A extends RecipeAddress>(
  addresses: A[],
): Exclude<A, { path: string }> | undefined {
  return addresses.find((address): address is Exclude<A, { path: string }> => !isUnix(address));
}
