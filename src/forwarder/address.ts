import { isIPv4, isIPv6 } from 'node:net';
import type { Device } from './device.js';
import { AF_INET, AF_INET6, getpeername, getsockname, inetPton, pinned } from './syscalls.js';

/** An IP address and port, as text and as the kernel wants it. */
export interface Address {
  /** "127.0.0.1:3306" or "[::1]:80". */
  readonly text: string;
  readonly port: number;
  /** AF_INET or AF_INET6. */
  readonly family: number;
  /** Address of the sockaddr in memory that never moves, and its size in bytes. */
  readonly sockaddr: number;
  readonly size: number;
  /** The network interface that leads to it, and no other. */
  readonly device?: Device;
}

/*
 * struct sockaddr_in and sockaddr_in6 (linux/in.h, linux/in6.h): family in the machine's order (both of our machines
 * are little endian), port in network order at 2, the IPv4 address at 4 of 16 bytes, the IPv6 address at 8 of 28.
 */
const SIZE_V4 = 16;
/** Size of the largest sockaddr of a TCP socket, bytes. */
export const SIZE_V6 = 28;
const room = pinned(SIZE_V6);
const roomSize = pinned(4);

/**
 * Reads "127.0.0.1:3306" or "[::1]:80". Names are not looked up: that is done where the link is made. Throws an
 * Error that quotes `text` if it is anything else.
 */
export function parseAddress(text: string): Address {
  const parts = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  const port = Number(parts?.[3]);
  const ipv6 = parts?.[1];
  const host = ipv6 ?? parts?.[2] ?? '';
  if (!(ipv6 === undefined ? isIPv4(host) : isIPv6(host)) || host.includes('%') || port < 1 || port > 65535) {
    throw new Error(`"${text}" is not an address like 127.0.0.1:3306 or [::1]:80`);
  }
  const family = ipv6 === undefined ? AF_INET : AF_INET6;
  const size = ipv6 === undefined ? SIZE_V4 : SIZE_V6;
  const sockaddr = pinned(size);
  sockaddr.bytes.writeUInt16LE(family, 0);
  sockaddr.bytes.writeUInt16BE(port, 2);
  inetPton(family, host, sockaddr.address + (ipv6 === undefined ? 4 : 8));
  return { text, port, family, sockaddr: sockaddr.address, size };
}

/** Who is at the other end of `fd`: "127.0.0.1:51234", or undefined when it is not connected (any more). */
export function peerOf(fd: number): string | undefined {
  return ask(getpeername, fd) ? addressText(room.bytes) : undefined;
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
  // An IPv4 client of a listener on [::] is ::ffff:a.b.c.d.
  if (bytes.subarray(8, 20).toString('hex') === '00000000000000000000ffff') {
    return `${bytes.subarray(20, 24).join('.')}:${port}`;
  }
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(8 + 2 * i).toString(16));
  return `[${new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)}]:${port}`;
}
