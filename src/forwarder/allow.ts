import { isIPv4, isIPv6 } from 'node:net';
import { addressText, SIZE_V6 } from './address.js';
import type { Device } from './device.js';
import type { Log } from './log.js';
import { resetOnClose } from './reset.js';
import { AF_INET, AF_INET6, close, errno, errorWords, inetPton, type Pinned, pinned } from './syscalls.js';

/** Lets in the clients of one machine only. */
export interface Guard {
  /** Its address, as it was written. */
  readonly address: string;
  /** The same as the four words of an IPv6 address; an IPv4 one is ::ffff:a.b.c.d there. */
  readonly words: Int32Array;
  /**
   * Where accept4(2) puts the address of a client, and its size (28 bytes before each call): so a look at who comes
   * costs no system call.
   */
  readonly room: Pinned;
  readonly roomSize: Pinned;
}

/** The words of ::ffff:0:0 before the IPv4 address, RFC 4291 2.5.5.2. */
const MAPPED = new Int32Array(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff).buffer);

/** Lets in the clients of `address`, an IPv4 or IPv6 address. Throws an Error that quotes it if it is neither. */
export function createGuard(address: string): Guard {
  const isV4 = isIPv4(address);
  if (!(isV4 || isIPv6(address)) || address.includes('%')) {
    throw new Error(`--allow "${address}" is not an IP address like 10.90.0.1 or 2001:db8::1`);
  }
  const { address: at, words } = pinned(16);
  if (isV4) words.set(MAPPED);
  inetPton(isV4 ? AF_INET : AF_INET6, address, at + (isV4 ? 12 : 0));
  return { address, words, room: pinned(SIZE_V6), roomSize: pinned(4) };
}

/** Whether the client whose address lies in the guard's room is allowed. */
export function isWelcome({ room, words }: Guard): boolean {
  const client = room.words;
  if (room.bytes.readUInt16LE(0) === AF_INET) {
    return MAPPED.every((word, i) => words[i] === word) && client[1] === words[3];
  }
  return words.every((word, i) => client[2 + i] === word);
}

/** Resets the client whose address lies in the guard's room, and says so. */
export function turnAway(guard: Guard, client: number, log: Log): void {
  const rule = `this head serves ${guard.address} only`;
  log.failure(
    'turned away',
    `refused ${addressText(guard.room.bytes)}: ${rule}`,
    (count) => `refused ${count} more client${count === 1 ? '' : 's'} in the last 10 s: ${rule}`,
  );
  resetOnClose(client);
  close(client);
}

/** Resets a client that could not be bound to the only interface through which it may be served, and says so. */
export function turnAwayUnbound({ text }: Device, client: number, log: Log): void {
  const story = `a client could not be bound to interface ${text} (${errorWords(errno())}) and is refused: is the tunnel up?`;
  log.failure('not bound', story, (count) => `${story} ${count} more in the last 10 s`);
  resetOnClose(client);
  close(client);
}
