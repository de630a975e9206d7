import type { Socket } from 'node:net';
import koffi from 'koffi';

/** linux/socket.h and asm-generic/socket.h: options of getsockopt(2). */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_DOMAIN = 39;

const FAMILIES: Record<number, 'unix' | 'tcp'> = { 1: 'unix', 2: 'tcp', 10: 'tcp' };

/** The process at the other end of a unix socket, as it was when it connected. */
export interface PeerCredentials {
  pid: number;
  uid: number;
}

/** The file descriptor of a connection, for which Node has no name; -1 when it is closed. */
export function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: number } };
  return handle?.fd ?? -1;
}

/**
 * Whether a listening socket is of the unix or an internet family. The kernel is asked and not the environment: only on
 * a unix socket do file permissions decide who may connect.
 *
 * @throws Error when it is no socket, or one of another family
 */
export function familyOf(fd: number): 'unix' | 'tcp' {
  const family = FAMILIES[readOption(fd, SO_DOMAIN, 4).readInt32LE()];
  if (family === undefined)
    throw new Error(`descriptor ${fd} is a socket neither of the unix nor of an internet family`);
  return family;
}

/** The process that connected to a unix socket (SO_PEERCRED, unix(7)). @throws Error */
export function peerCredentials(fd: number): PeerCredentials {
  // struct ucred: pid, uid, gid.
  const credentials = readOption(fd, SO_PEERCRED, 12);
  return { pid: credentials.readInt32LE(0), uid: credentials.readUInt32LE(4) };
}

type GetSockOpt = (fd: number, level: number, name: number, value: Buffer, size: Buffer) => number;
let getsockopt: GetSockOpt | undefined;

function readOption(fd: number, name: number, size: number): Buffer {
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
