import { addressText } from '../address.js';
import { addressOf, type Endpoint, type Endpoints, ipv4Of, isIPv4, portOf } from './endpoints.js';
import { PATH_SIZE, PROXY_COMMAND, SIGNATURE, TCP4, TCP6, TLV_PID, TLV_UID, UNIX_STREAM } from './layout.js';

/** No header that is sent is longer: that of a unix socket, with two TLVs, is not. */
export const LONGEST_SENT_HEADER = 256;

/** The version of a header: a line of text, or binary. */
export type Version = 'v1' | 'v2';

/** A client of a unix socket, as the kernel tells it. */
export interface UnixClient {
  /** The names of the client's socket and of the one that it connected to: a path, a NUL and an abstract name, or empty. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly pid: number;
  readonly uid: number;
}

/** The header for a client with these addresses. */
export function formatHeader(version: Version, endpoints: Endpoints): Buffer {
  const { source, destination } = endpoints;
  const isV4 = isIPv4(source) && isIPv4(destination);
  if (version === 'v1') {
    const ports = `${portOf(source)} ${portOf(destination)}`;
    const host = isV4 ? textOf : textOfV6;
    return Buffer.from(`PROXY TCP${isV4 ? 4 : 6} ${host(source)} ${host(destination)} ${ports}\r\n`);
  }
  const bytes = isV4 ? ipv4Of : addressOf;
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(portOf(source), 0);
  ports.writeUInt16BE(portOf(destination), 2);
  return frame(isV4 ? TCP4 : TCP6, [bytes(source), bytes(destination), ports]);
}

/** The header for a client of a unix socket. Version 1 has no words for one. */
export function formatUnixHeader(version: Version, { source, destination, pid, uid }: UnixClient): Buffer {
  if (version === 'v1') return Buffer.from('PROXY UNKNOWN\r\n');
  const paths = Buffer.alloc(2 * PATH_SIZE);
  paths.set(source.subarray(0, PATH_SIZE), 0);
  paths.set(destination.subarray(0, PATH_SIZE), PATH_SIZE);
  return frame(UNIX_STREAM, [paths, tlv(TLV_PID, pid), tlv(TLV_UID, uid)]);
}

function frame(family: number, parts: readonly Buffer[]): Buffer {
  const payload = Buffer.concat(parts);
  const size = Buffer.alloc(2);
  size.writeUInt16BE(payload.length);
  return Buffer.concat([SIGNATURE, Buffer.of(PROXY_COMMAND, family), size, payload]);
}

function tlv(type: number, number: number): Buffer {
  const bytes = Buffer.alloc(7);
  bytes.writeUInt8(type, 0);
  bytes.writeUInt16BE(4, 1);
  bytes.writeUInt32BE(number >>> 0, 3);
  return bytes;
}

function textOf(endpoint: Endpoint): string {
  return addressText(endpoint).replace(/^\[?(.*?)\]?:\d+$/, '$1');
}

/** As addressText() has it, but an IPv4 address is ::ffff:a.b.c.d: both addresses of a line are of one family. */
function textOfV6(endpoint: Endpoint): string {
  return isIPv4(endpoint) ? `::ffff:${textOf(endpoint)}` : textOf(endpoint);
}
