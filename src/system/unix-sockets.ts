import { closeSync, lstatSync } from 'node:fs';
import { constants } from 'node:os';
import koffi from 'koffi';

const AF_UNIX = 1;
/** With SOCK_NONBLOCK and SOCK_CLOEXEC. */
const SOCK_DGRAM = 2 | 0x800 | 0x80000;

/** What is at a path: nothing, a socket that a program uses, one whose program has gone, or another file. */
export type PathUse = 'nothing' | 'live socket' | 'stale socket' | 'file';

/**
 * Finds out what is at a path. The program that listens there notices nothing: a connection of a socket for datagrams to one for
 * streams fails (EPROTOTYPE, unix(7)).
 *
 * @throws Error when the path cannot be looked at, or no socket can be created
 */
export function inspectPath(path: string): PathUse {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return 'nothing';
  if (!found.isSocket()) return 'file';
  return connects(path) ? 'live socket' : 'stale socket';
}

function connects(path: string): boolean {
  const libc = koffi.load('libc.so.6');
  const fd: number = libc.func('int socket(int family, int type, int protocol)')(AF_UNIX, SOCK_DGRAM, 0);
  if (fd < 0) throw new Error(`socket(2) fails with error ${koffi.errno()}`);
  try {
    const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(path), Buffer.from([0])]);
    const connect = libc.func('int connect(int fd, void *address, uint size)');
    return connect(fd, address, address.length) === 0 || koffi.errno() === constants.errno.EPROTOTYPE;
  } finally {
    closeSync(fd);
  }
}
