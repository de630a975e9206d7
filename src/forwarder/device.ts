import {
  copyFrom,
  getsockopt,
  ioctl,
  pinned,
  SIOCGIFINDEX,
  SO_BINDTODEVICE,
  SOL_SOCKET,
  setsockopt,
} from './syscalls.js';

/** A network interface, as the kernel wants its name. */
export interface Device {
  readonly text: string;
  /** Address of the name in memory that never moves, and its size in bytes. */
  readonly name: number;
  readonly size: number;
}

/** The longest name of an interface, bytes: IFNAMSIZ of linux/if.h with its NUL. */
const LONGEST = 15;

/** Reads the name of a network interface, such as "wh-1a2b3c". Throws an Error that quotes it if none can have it. */
export function parseDevice(text: string): Device {
  const bytes = Buffer.from(text);
  if (bytes.length === 0 || bytes.length > LONGEST || /[\s/:\0]/.test(text) || /^\.\.?$/.test(text)) {
    throw new Error(`"${text}" is not the name of a network interface like wh-1a2b3c`);
  }
  const { address, bytes: room } = pinned(LONGEST + 1);
  bytes.copy(room);
  return { text, name: address, size: bytes.length };
}

/** struct ifreq: the name in 16 bytes, then the index, of 40 bytes (netdevice(7)). */
const request = pinned(40);

const bound = pinned(LONGEST + 1);
const boundSize = pinned(4);

/** The index of an interface in the network namespace of a socket, which changes when it is created again; 0 if there is none. */
export function indexOf(fd: number, { name, size }: Device): number {
  request.bytes.fill(0);
  copyFrom(name, size).copy(request.bytes);
  return ioctl(fd, SIOCGIFINDEX, request.address) < 0 ? 0 : (request.words[4] as number);
}

/** The name of the interface that a socket is bound to; empty if it is bound to none. */
export function boundDevice(fd: number): string {
  boundSize.words[0] = LONGEST + 1;
  if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, bound.address, boundSize.address) < 0) return '';
  return bound.bytes.toString('latin1', 0, Math.max(0, (boundSize.words[0] as number) - 1));
}

/**
 * Binds a socket that is bound to no interface yet: what it sends leaves through this one alone, and what arrives elsewhere
 * is not for it (SO_BINDTODEVICE, socket(7)). Needs no capability since Linux 5.7. False when the kernel refuses: see errno().
 */
export function bindToDevice(fd: number, { name, size }: Device): boolean {
  return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, size) === 0;
}
