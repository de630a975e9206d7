import { AF_UNIX, pinned } from './syscalls.js';

/** The address of a unix socket, as text and as a sockaddr. */
export interface UnixAddress {
  /** A path, or a name in the abstract namespace written "@name". */
  readonly text: string;
  /** The address of the sockaddr, in memory that never moves, and its size in bytes. */
  readonly sockaddr: number;
  readonly size: number;
}

/** struct sockaddr_un: two bytes of family, then at most 108 of path with its NUL (unix(7)). */
const SIZE = 110;
const LONGEST = 107;

/**
 * Parses "/run/wormhole/far.sock" or "@name". Throws an Error that names `what` (the option or variable it
 * comes from) and quotes `text` if it is neither, or is longer than 107 bytes.
 */
export function parseUnixAddress(what: string, text: string): UnixAddress {
  const name = Buffer.from(text);
  if (!/^[/@]/.test(text) || name.length > LONGEST) {
    throw new Error(
      `${what} "${text}" is neither a path nor an abstract name of a socket (at most ${LONGEST} bytes)`,
    );
  }
  // A multiple of 4, as pinned() wants it.
  const { address, bytes } = pinned(SIZE + 2);
  bytes.writeUInt16LE(AF_UNIX, 0);
  name.copy(bytes, 2);
  const isPath = text.startsWith('/');
  if (!isPath) bytes[2] = 0;
  return { text, sockaddr: address, size: 2 + name.length + (isPath ? 1 : 0) };
}
