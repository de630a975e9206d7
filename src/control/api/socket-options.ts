import koffi from 'koffi';

/** linux/socket.h and asm-generic/socket.h: what getsockopt(2) is asked for. */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_DOMAIN = 39;

const FAMILIES: Record<number, 'unix' | 'tcp'> = { 1: 'unix', 2: 'tcp', 10: 'tcp' };

/**
 * Whether a listening socket is of the unix or an internet family. The kernel is asked and not the environment: only on
 * a unix socket do file permissions say who may call.
 *
 * @throws Error when it is no socket, or one of another family
 */
export function familyOf(fd: number): 'unix' | 'tcp' {
  const family = FAMILIES[ask(fd, SO_DOMAIN, 4).readInt32LE()];
  if (family === undefined)
    throw new Error(`descriptor ${fd} is a socket neither of the unix nor of an internet family`);
  return family;
}

/** The user id of the process that connected to a unix socket (SO_PEERCRED, unix(7)). @throws Error */
export function peerUid(fd: number): number {
  // struct ucred: pid, uid, gid.
  return ask(fd, SO_PEERCRED, 12).readUInt32LE(4);
}

/** The id of that process. @throws Error */
export function peerPid(fd: number): number {
  return ask(fd, SO_PEERCRED, 12).readUInt32LE(0);
}

type GetSockOpt = (fd: number, level: number, name: number, value: Buffer, size: Buffer) => number;
let getsockopt: GetSockOpt | undefined;

function ask(fd: number, name: number, size: number): Buffer {
  getsockopt ??= koffi
    .load('libc.so.6')
    .func('int getsockopt(int fd, int level, int name, void *value, void *size)') as GetSockOpt;
  const value = Buffer.alloc(size);
  const room = Buffer.alloc(4);
  room.writeUInt32LE(size);
  if (getsockopt(fd, SOL_SOCKET, name, value, room) !== 0)
    throw new Error(`descriptor ${fd} is not a socket that getsockopt(2) answers for`);
  return value;
}
