import type { Address } from '../address.js';
import { AF_UNIX, pinned } from '../syscalls.js';

/** struct sockaddr_un: two bytes of family, then at most 108 of path with its NUL (unix(7)). */
export const SIZE_UNIX = 110;
const LONGEST = 107;

/** Whether a text is the address of a unix socket: a path, or a name in the abstract namespace written "@name". */
export function isUnixAddress(text: string): boolean {
  return /^[/@]/.test(text);
}

/**
 * Parses "/run/wormhole/far.sock" or "@name". Throws an Error that names `what` (the option or variable it
 * comes from) and quotes `text` if it is neither, or is longer than 107 bytes.
 */
export function parseUnixAddress(what: string, text: string): Address {
  const name = Buffer.from(text);
  if (!isUnixAddress(text) || name.length > LONGEST) {
    throw new Error(
      `${what} "${text}" is neither a path nor an abstract name of a socket (at most ${LONGEST} bytes)`,
    );
  }
  // A multiple of 4, as pinned() wants it.
  const { address, bytes } = pinned(SIZE_UNIX + 2);
  bytes.writeUInt16LE(AF_UNIX, 0);
  name.copy(bytes, 2);
  const isPath = text.startsWith('/');
  if (!isPath) bytes[2] = 0;
  return { text, port: 0, family: AF_UNIX, sockaddr: address, size: 2 + name.length + (isPath ? 1 : 0) };
}
