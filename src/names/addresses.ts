import { BlockList, isIPv4, isIPv6 } from 'node:net';

/*
 * Anyone who answers for a name decides where the clients of a link go. DNS must not lead them to what only this machine should reach:
 * services on the loopback interface, and the metadata of a cloud on a link-local address. The kernel drops what goes there too, see
 * units/ip-filter.ts.
 */

const loopback = list(
  ['127.0.0.0', 8, 'ipv4'],
  ['::1', 128, 'ipv6'],
  ['0.0.0.0', 8, 'ipv4'],
  ['::', 128, 'ipv6'],
);

/** Link-local, multicast and reserved: RFC 3927, 4291, 5771, 1112. */
const unusable = list(
  ['169.254.0.0', 16, 'ipv4'],
  ['224.0.0.0', 4, 'ipv4'],
  ['240.0.0.0', 4, 'ipv4'],
  ['fe80::', 10, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
);

/** Whether an address is one of the loopback interface, or a wildcard, to which a connection goes there as well. */
export function isLoopback(address: string): boolean {
  return contains(loopback, address);
}

/** Whether no name may lead to an address, according to any source: it is none of one machine, or needs an interface to be complete. */
export function isUnusable(address: string): boolean {
  return contains(unusable, address);
}

/** The addresses of a name in the order in which they are tried: those of both families in turn, IPv6 first (RFC 8305, 4). */
export function inOrder(addresses: string[]): string[] {
  const [six, four] = [addresses.filter(isIPv6), addresses.filter(isIPv4)];
  return Array.from({ length: Math.max(six.length, four.length) }, (_, at) => [six[at], four[at]])
    .flat()
    .filter((address) => address !== undefined);
}

function list(...networks: [string, number, 'ipv4' | 'ipv6'][]): BlockList {
  const made = new BlockList();
  for (const [address, bits, family] of networks) made.addSubnet(address, bits, family);
  return made;
}

/** Node compares an IPv4-mapped IPv6 address with the IPv4 networks too, but to NAT64 and the like it is blind. */
function contains(networks: BlockList, address: string): boolean {
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return networks.check(mapped, 'ipv4');
  return networks.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}
