import { SIZE_V6 } from '../address.js';
import { AF_INET, AF_INET6, getsockname, pinned } from '../syscalls.js';

/**
 * The address and port of one end of a connection, as a sockaddr_in6 of 28 bytes. An IPv4 address is ::ffff:a.b.c.d, as a
 * listener on [::] sees it.
 */
export type Endpoint = Buffer;

/** The client of a connection, and the address that it connected to. */
export interface Endpoints {
  readonly source: Endpoint;
  readonly destination: Endpoint;
}

/** Where the port and the address are in a sockaddr_in6, and the IPv4 address in that (linux/in6.h). */
const PORT = 2;
const ADDRESS = 8;
const IPV4 = ADDRESS + 12;
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex');

const room = pinned(SIZE_V6);
const roomSize = pinned(4);

/** The endpoint with these 4 or 16 bytes of address. */
export function createEndpoint(address: Uint8Array, port: number): Endpoint {
  const endpoint = Buffer.alloc(SIZE_V6);
  endpoint.writeUInt16LE(AF_INET6, 0);
  endpoint.writeUInt16BE(port, PORT);
  if (address.length === 4) MAPPED.copy(endpoint, ADDRESS);
  endpoint.set(address, address.length === 4 ? IPV4 : ADDRESS);
  return endpoint;
}

/** The endpoint of a sockaddr_in or sockaddr_in6; undefined if `sockaddr` is of another family, or has no port. */
export function endpointOf(sockaddr: Buffer): Endpoint | undefined {
  const family = sockaddr.readUInt16LE(0);
  const port = sockaddr.readUInt16BE(PORT);
  if (port === 0) return undefined;
  if (family === AF_INET) return createEndpoint(sockaddr.subarray(4, 8), port);
  return family === AF_INET6 ? createEndpoint(addressOf(sockaddr), port) : undefined;
}

/** The address that the client of the TCP socket `fd` has connected to; undefined if the kernel does not know it any more. */
export function destinationOf(fd: number): Endpoint | undefined {
  roomSize.words[0] = SIZE_V6;
  return getsockname(fd, room.address, roomSize.address) < 0 ? undefined : endpointOf(room.bytes);
}

/** Whether an endpoint has an IPv4 address. */
export function isIPv4(endpoint: Endpoint): boolean {
  return endpoint.compare(MAPPED, 0, MAPPED.length, ADDRESS, IPV4) === 0;
}

/** The 16 bytes of address of an endpoint. */
export function addressOf(endpoint: Endpoint): Buffer {
  return endpoint.subarray(ADDRESS, ADDRESS + 16);
}

/** The 4 bytes of an IPv4 address. */
export function ipv4Of(endpoint: Endpoint): Buffer {
  return endpoint.subarray(IPV4, IPV4 + 4);
}

/** The port of an endpoint. */
export function portOf(endpoint: Endpoint): number {
  return endpoint.readUInt16BE(PORT);
}
