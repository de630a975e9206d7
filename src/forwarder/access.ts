import { addressText, readHost, SIZE_V6 } from './address.js';
import type { Device } from './device.js';
import type { Log } from './log.js';
import { resetOnClose } from './socket-options.js';
import { AF_INET, AF_INET6, close, errno, errorWords, type Pinned, pinned } from './syscalls.js';

/** Admits the clients of one machine only. */
export interface AccessRule {
  /** The address of that machine, as written on the command line. */
  readonly address: string;
  /** The address as the four words of an IPv6 address; an IPv4 address is ::ffff:a.b.c.d. */
  readonly words: Int32Array;
  /**
   * The memory to which accept4(2) writes the address of a client and its size. The size must be 28 bytes
   * before each call. Checking a client costs no system call of its own.
   */
  readonly room: Pinned;
  readonly roomSize: Pinned;
}

/** The words of ::ffff:0:0 that precede an IPv4 address (RFC 4291, 2.5.5.2). */
const MAPPED = new Int32Array(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff).buffer);

/**
 * Creates a rule that admits `address`, an IPv4 or IPv6 address. Throws an Error that quotes it if it is
 * neither.
 */
export function createAccessRule(address: string): AccessRule {
  const isV4 = !address.includes(':');
  const { address: at, words } = pinned(16);
  if (isV4) words.set(MAPPED);
  if (!readHost(isV4 ? AF_INET : AF_INET6, address, at + (isV4 ? 12 : 0))) {
    throw new Error(`--allow "${address}" is not an IP address like 10.90.0.1 or 2001:db8::1`);
  }
  return { address, words, room: pinned(SIZE_V6), roomSize: pinned(4) };
}

/** Whether the client whose address accept4(2) has just written is admitted. */
export function isAllowed({ room, words }: AccessRule): boolean {
  return isAllowedAt({ words }, room.words, 0);
}

/** Whether the client is admitted whose sockaddr begins at `first` in `memory`. */
export function isAllowedAt(
  { words }: Pick<AccessRule, 'words'>,
  memory: Int32Array,
  first: number,
): boolean {
  if (((memory[first] as number) & 0xffff) === AF_INET) {
    return MAPPED.every((word, i) => words[i] === word) && memory[first + 1] === words[3];
  }
  return words.every((word, i) => memory[first + 2 + i] === word);
}

/** Resets the client whose address accept4(2) has just written, and logs it. */
export function reject(access: AccessRule, client: number, log: Log): void {
  const rule = `this head serves ${access.address} only`;
  log.failure(
    'refused',
    `refused ${addressText(access.room.bytes)}: ${rule}`,
    (count) => `refused ${count} more client${count === 1 ? '' : 's'} in the last 10 s: ${rule}`,
  );
  resetOnClose(client);
  close(client);
}

/** Resets a client that cannot be bound to the only interface through which it may be served, and logs it. */
export function rejectUnbound({ text }: Device, client: number, log: Log): void {
  const message = `a client could not be bound to interface ${text} (${errorWords(errno())}) and is refused: is the tunnel up?`;
  log.failure('refused unbound', message, (count) => `${message} ${count} more in the last 10 s`);
  resetOnClose(client);
  close(client);
}
