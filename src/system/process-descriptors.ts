import { closeSync, fstatSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import koffi from 'koffi';

/** System calls that libc has no name for everywhere (asm-generic/unistd.h: the same number on all architectures). */
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;

/** netinet/in.h, linux/tcp.h. */
const IPPROTO_TCP = 6;
const TCP_INFO = 11;

/** Offsets of fields in struct tcp_info (linux/tcp.h), bytes. */
const LAST_DATA_SENT = 44;
const LAST_DATA_RECEIVED = 52;
const BYTES_RECEIVED = 128;
const INFO_BYTES = 136;

/** errno-base.h, errno.h */
const EPERM = 1;
const ENOSYS = 38;

/** sys/socket.h */
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const ADDRESS_BYTES = 128;

/** A socket of another process. `idleMs` is since data came or went last. */
export interface ProcessSocket {
  peer: string;
  received: number;
  idleMs: number;
}

interface Calls {
  syscall: (number: number, one: number, two: number, three: number) => number;
  getsockopt: (fd: number, level: number, name: number, value: Buffer, size: Buffer) => number;
  getpeername: (fd: number, address: Buffer, size: Buffer) => number;
}
let loaded: Calls | undefined;

function calls(): Calls {
  if (loaded) return loaded;
  const libc = koffi.load('libc.so.6');
  loaded = {
    syscall: libc.func('long syscall(long number, long one, long two, long three)') as Calls['syscall'],
    getsockopt: libc.func(
      'int getsockopt(int fd, int level, int name, void *value, void *size)',
    ) as Calls['getsockopt'],
    getpeername: libc.func('int getpeername(int fd, void *address, void *size)') as Calls['getpeername'],
  };
  return loaded;
}

/** The kernel, or a filter of system calls, does not let the caller look at the descriptors of a process. */
class Denied extends Error {}

/** The descriptors of a process, by their numbers there. The caller holds a duplicate for some microseconds only. */
export interface ProcessDescriptors {
  /** The first bytes of a regular file; undefined when it is none. */
  file(descriptor: number, most: number): Buffer | undefined;
  /** The descriptors of memory files of this name (memfd_create(2)); none when the caller may not see them. */
  memoryFiles(name: string): number[];
  /** What the kernel has of a socket, in whatever network namespace that is; undefined when it has no peer. */
  socket(descriptor: number): ProcessSocket | undefined;
}

/**
 * Runs `look` with the descriptors of a process.
 *
 * @returns undefined when the process has ended, or may not be looked at (pidfd_getfd(2))
 */
export function withDescriptors<T>(pid: number, look: (of: ProcessDescriptors) => T): T | undefined {
  const pidfd = calls().syscall(SYS_PIDFD_OPEN, pid, 0, 0);
  if (pidfd < 0) return undefined;
  try {
    return look({
      file: (descriptor, most) => withDuplicate(pidfd, descriptor, (fd) => readStart(fd, most)),
      memoryFiles: (name) => memoryFilesOf(pid, name),
      socket: (descriptor) => withDuplicate(pidfd, descriptor, readSocket),
    });
  } catch (error) {
    if (error instanceof Denied) return undefined;
    throw error;
  } finally {
    closeSync(pidfd);
  }
}

function withDuplicate<T>(pidfd: number, descriptor: number, read: (fd: number) => T): T | undefined {
  const fd = calls().syscall(SYS_PIDFD_GETFD, pidfd, descriptor, 0);
  // EBADF: it is closed. ESRCH: the process has ended.
  if (fd < 0 && [EPERM, ENOSYS].includes(koffi.errno())) throw new Denied();
  if (fd < 0) return undefined;
  try {
    return read(fd);
  } finally {
    closeSync(fd);
  }
}

function memoryFilesOf(pid: number, name: string): number[] {
  const directory = `/proc/${pid}/fd`;
  try {
    return readdirSync(directory)
      .filter((descriptor) => linkOf(`${directory}/${descriptor}`) === `/memfd:${name} (deleted)`)
      .map(Number);
  } catch {
    return [];
  }
}

/** What a descriptor leads to; undefined when it has been closed meanwhile. */
function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function readStart(fd: number, most: number): Buffer | undefined {
  const stat = fstatSync(fd);
  if (!stat.isFile()) return undefined;
  const bytes = Buffer.alloc(Math.min(stat.size, most));
  return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0));
}

function readSocket(fd: number): ProcessSocket | undefined {
  const { getsockopt, getpeername } = calls();
  const [info, address] = [Buffer.alloc(INFO_BYTES), Buffer.alloc(ADDRESS_BYTES)];
  const [infoSize, addressSize] = [sizeOf(INFO_BYTES), sizeOf(ADDRESS_BYTES)];
  const isTcp = getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, infoSize) === 0;
  const hasPeer = getpeername(fd, address, addressSize) === 0;
  if (!hasPeer) return undefined;
  return {
    peer: addressText(address.subarray(0, addressSize.readUInt32LE())),
    received: isTcp ? Number(info.readBigUInt64LE(BYTES_RECEIVED)) : 0,
    idleMs: isTcp ? Math.min(info.readUInt32LE(LAST_DATA_SENT), info.readUInt32LE(LAST_DATA_RECEIVED)) : 0,
  };
}

function sizeOf(bytes: number): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(bytes);
  return size;
}

/** `127.0.0.1:40000`, `[::1]:40000`; a unix socket by its name, which clients rarely have. */
function addressText(address: Buffer): string {
  const family = address.readUInt16LE();
  if (family === AF_INET) return `${[...address.subarray(4, 8)].join('.')}:${address.readUInt16BE(2)}`;
  if (family === AF_INET6) {
    const groups = Array.from({ length: 8 }, (_, at) => address.readUInt16BE(8 + 2 * at).toString(16));
    return `${canonicalIPv6(groups.join(':'))}:${address.readUInt16BE(2)}`;
  }
  if (family !== AF_UNIX || address.length <= 2) return 'unix';
  const name = address.toString('utf8', 2);
  return name.startsWith('\0') ? `@${name.slice(1)}` : name.replace(/\0.*$/s, '');
}

/** The shortest form, in brackets (RFC 5952); an IPv4 address in IPv6 as IPv4. */
function canonicalIPv6(text: string): string {
  const host = new URL(`http://[${text}]`).host;
  const mapped = /^\[::ffff:([0-9a-f]+):([0-9a-f]+)\]$/.exec(host);
  if (!mapped) return host;
  const [high, low] = [mapped[1], mapped[2]].map((hex) => Number.parseInt(hex ?? '', 16));
  return [high, low].flatMap((word = 0) => [word >> 8, word & 255]).join('.');
}
