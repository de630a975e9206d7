import type { Device } from './device.js';
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  copyFrom,
  getpeername,
  getsockname,
  getsockopt,
  inetPton,
  pinned,
  SO_PEERCRED,
  SOL_SOCKET,
} from './syscalls.js';

/** Where a socket is, as text and as a sockaddr. */
export interface Address {
  /** "127.0.0.1:3306", "[::1]:80", a path, or a name in the abstract namespace written "@name". */
  readonly text: string;
  /** 0 for a unix socket. */
  readonly port: number;
  /** AF_INET, AF_INET6 or AF_UNIX. */
  readonly family: number;
  /** The address of the sockaddr, in memory that never moves, and its size in bytes. */
  readonly sockaddr: number;
  readonly size: number;
  /** The only network interface that leads to it; undefined: any. */
  readonly device?: Device;
}

/*
 * struct sockaddr_in and sockaddr_in6 (linux/in.h, linux/in6.h): the family at 0 in host order (x86-64 and
 * arm64 are little-endian), the port at 2 in network order, the IPv4 address at 4 of 16 bytes, the IPv6
 * address at 8 of 28.
 */
const SIZE_V4 = 16;
/** Size of the largest sockaddr of a TCP socket, bytes. */
export const SIZE_V6 = 28;
const room = pinned(SIZE_V6);
const roomSize = pinned(4);
/** Room for a struct sockaddr_un, of 110 bytes (unix(7)). */
const large = pinned(112);
const largeSize = pinned(4);

/**
 * Parses "127.0.0.1:3306" or "[::1]:80". Throws an Error that quotes `text` if it is anything else. Names are
 * resolved when the link is created, never here.
 */
export function parseAddress(text: string): Address {
  const [, ipv6, ipv4, portText] = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(text) ?? [];
  const port = Number(portText);
  const family = ipv6 === undefined ? AF_INET : AF_INET6;
  const size = ipv6 === undefined ? SIZE_V4 : SIZE_V6;
  const sockaddr = pinned(size);
  const to = sockaddr.address + (ipv6 === undefined ? 4 : 8);
  if (!readHost(family, ipv6 ?? ipv4 ?? '', to) || port < 1 || port > 65535) {
    throw new Error(`"${text}" is not an address like 127.0.0.1:3306 or [::1]:80`);
  }
  sockaddr.bytes.writeUInt16LE(family, 0);
  sockaddr.bytes.writeUInt16BE(port, 2);
  return { text, port, family, sockaddr: sockaddr.address, size };
}

/**
 * Writes the bytes of `text`, an address of `family`, to memory at `to`. Returns false if `text` is not such an
 * address or has a zone. inet_pton(3) reads it, because node:net is slow to load.
 */
export function readHost(family: number, text: string, to: number): boolean {
  return /^[0-9A-Fa-f:.]+$/.test(text) && inetPton(family, text, to) === 1;
}

/**
 * The peer of `fd`: its address, such as "127.0.0.1:51234", or "process 812" of a unix socket; undefined if `fd` is not, or is
 * no longer, connected.
 */
export function peerOf(fd: number): string | undefined {
  if (!ask(getpeername, fd)) return undefined;
  return room.bytes.readUInt16LE(0) === AF_UNIX ? `process ${processOf(fd)}` : addressText(room.bytes);
}

/** The process that has connected to the unix socket of `fd`, or has listened there (SO_PEERCRED, unix(7)). */
function processOf(fd: number): number {
  // struct ucred: pid, uid, gid.
  roomSize.words[0] = 12;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, room.address, roomSize.address) === 0
    ? (room.words[0] as number)
    : 0;
}

/** Whether `fd` is connected to an address. */
export function isConnectedTo(fd: number, { family, sockaddr, size }: Address): boolean {
  largeSize.words[0] = large.bytes.length;
  if (getpeername(fd, large.address, largeSize.address) !== 0) return false;
  const known = copyFrom(sockaddr, size);
  // Behind the address of IPv6, a sockaddr says by which interface it is reached. The port stands before it, and a flow label in between.
  const same = (from: number, to: number): boolean =>
    large.bytes.subarray(from, to).equals(known.subarray(from, to));
  if (family === AF_INET) return same(0, 8);
  if (family === AF_INET6) return same(0, 4) && same(8, 24);
  return largeSize.words[0] === size && same(0, size);
}

/** The address that `fd` is bound to, as the words of its sockaddr, the others of which are 0. */
export function localWordsOf(fd: number): Int32Array {
  room.words.fill(0);
  ask(getsockname, fd);
  return room.words.slice();
}

/** Whether `fd` is bound to all addresses of the machine: to 0.0.0.0 or ::. */
export function isWildcard(fd: number): boolean {
  if (!ask(getsockname, fd)) return false;
  const [first, last] = room.bytes.readUInt16LE(0) === AF_INET ? [4, 8] : [8, 24];
  return room.bytes.subarray(first, last).every((byte) => byte === 0);
}

/** The local port of `fd`, or 0 when it has none. */
export function localPortOf(fd: number): number {
  return ask(getsockname, fd) ? room.bytes.readUInt16BE(2) : 0;
}

function ask(call: typeof getpeername, fd: number): boolean {
  roomSize.words[0] = SIZE_V6;
  return call(fd, room.address, roomSize.address) === 0;
}

/** "127.0.0.1:51234" or "[::1]:51234" for the bytes of a sockaddr_in or sockaddr_in6. */
export function addressText(bytes: Buffer): string {
  const port = bytes.readUInt16BE(2);
  if (bytes.readUInt16LE(0) === AF_INET) return `${bytes.subarray(4, 8).join('.')}:${port}`;
  // A listener on [::] sees an IPv4 client as ::ffff:a.b.c.d.
  if (bytes.subarray(8, 20).toString('hex') === '00000000000000000000ffff') {
    return `${bytes.subarray(20, 24).join('.')}:${port}`;
  }
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(8 + 2 * i).toString(16));
  return `[${new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)}]:${port}`;
}
