import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import koffi from 'koffi';

/*
 * The system calls of the forwarder, from the C library that Node itself is linked to.
 *
 * Each function returns what the C function returns; -1 means "see errno()". Addresses and lengths are
 * declared int64_t and passed as plain numbers, and file descriptors as int. Of koffi's calling conventions
 * this one allocates nothing and costs least (about 0.1 µs more than the bare system call; a Buffer or a null
 * pointer costs half as much again). ssize_t results are declared int, because no call here moves 2 GiB.
 */
const libc = koffi.load(null);

type Call = (...args: number[]) => number;

/** epoll_create1(2). */
export const epollCreate: Call = libc.func('int epoll_create1(int flags)');
/** epoll_ctl(2); `event` is an address. */
export const epollCtl: Call = libc.func('int epoll_ctl(int epoll, int op, int fd, int64_t event)');
/** epoll_wait(2); `events` is an address, `timeout` in ms, -1 to wait without limit. */
export const epollWait: Call = libc.func('int epoll_wait(int epoll, int64_t events, int max, int timeout)');
/** accept4(2); pass 0 for the address and its length. */
export const accept4: Call = libc.func('int accept4(int fd, int64_t addr, int64_t len, int flags)');
/** socket(2). */
export const socket: Call = libc.func('int socket(int family, int type, int protocol)');
/** connect(2); `addr` is the address of a sockaddr. */
export const connect: Call = libc.func('int connect(int fd, int64_t addr, uint len)');
/** splice(2); offsets are always 0 (NULL): neither a pipe nor a socket has one. */
export const splice: Call = libc.func(
  'int splice(int from, int64_t offIn, int to, int64_t offOut, int64_t len, uint flags)',
);
/** pipe2(2); `fds` is the address of two ints. */
export const pipe2: Call = libc.func('int pipe2(int64_t fds, int flags)');
/** close(2). Linux frees the number whatever it returns, so no caller looks. */
export const close: Call = libc.func('int close(int fd)');
/** shutdown(2). */
export const shutdown: Call = libc.func('int shutdown(int fd, int how)');
/** setsockopt(2); `value` is an address. */
export const setsockopt: Call = libc.func(
  'int setsockopt(int fd, int level, int name, int64_t value, uint len)',
);
/** getsockopt(2); `value` and `len` are addresses. */
export const getsockopt: Call = libc.func(
  'int getsockopt(int fd, int level, int name, int64_t value, int64_t len)',
);
/** getpeername(2); `addr` and `len` are addresses. */
export const getpeername: Call = libc.func('int getpeername(int fd, int64_t addr, int64_t len)');
/** getsockname(2); `addr` and `len` are addresses. */
export const getsockname: Call = libc.func('int getsockname(int fd, int64_t addr, int64_t len)');
/** mmap(2); returns an address, or MAP_FAILED. */
export const mmap: Call = libc.func(
  'int64_t mmap(int64_t at, int64_t len, int prot, int flags, int fd, int64_t offset)',
);
/** getrlimit(2); `limit` is the address of two 64-bit words. */
export const getrlimit: Call = libc.func('int getrlimit(int resource, int64_t limit)');
/** recv(2) into memory at an address. */
export const recv: Call = libc.func('int recv(int fd, int64_t bytes, int64_t len, int flags)');
/** read(2) into memory at an address. */
export const read: Call = libc.func('int read(int fd, int64_t bytes, int64_t len)');
/** write(2) from memory at an address. */
export const write: Call = libc.func('int write(int fd, int64_t bytes, int64_t len)');
/** recvmmsg(2); `messages` is the address of `count` structs mmsghdr, `timeout` 0 (none). */
export const recvmmsg: Call = libc.func(
  'int recvmmsg(int fd, int64_t messages, uint count, int flags, int64_t timeout)',
);
/** sendmmsg(2); `messages` is the address of `count` structs mmsghdr. */
export const sendmmsg: Call = libc.func('int sendmmsg(int fd, int64_t messages, uint count, int flags)');
/** recvmsg(2); `message` is the address of a struct msghdr. */
export const recvmsg: Call = libc.func('int recvmsg(int fd, int64_t message, int flags)');
/** sendto(2) from memory at an address; pass 0 for the address and its length on a connected socket. */
export const sendFrom: Call = libc.func(
  'int sendto(int fd, int64_t bytes, int64_t len, int flags, int64_t addr, uint addrLen)',
);
/** poll(2); `fds` is the address of `count` structs pollfd, `timeout` in ms. */
export const poll: Call = libc.func('int poll(int64_t fds, ulong count, int timeout)');
/** socketpair(2); `fds` is the address of two ints. */
export const socketpair: Call = libc.func('int socketpair(int family, int type, int protocol, int64_t fds)');
/** sendmsg(2); `message` is the address of a struct msghdr. */
export const sendmsg: Call = libc.func('int sendmsg(int fd, int64_t message, int flags)');
/** ftruncate(2). */
export const ftruncate: Call = libc.func('int ftruncate(int fd, int64_t size)');
/** lseek(2) of a small file. */
export const lseek: Call = libc.func('int lseek(int fd, int64_t offset, int whence)');
/** memfd_create(2). */
export const memfdCreate: (name: string, flags: number) => number = libc.func(
  'int memfd_create(str name, uint flags)',
);
/** inet_pton(3); `to` is an address with room for 16 bytes. */
export const inetPton: (family: number, text: string, to: number) => number = libc.func(
  'int inet_pton(int family, str text, int64_t to)',
);
/** sendto(2) from a Buffer to a sockaddr at an address: for the few messages to systemd, not for relayed bytes. */
export const sendto: (
  fd: number,
  bytes: Buffer,
  len: number,
  flags: number,
  addr: number,
  addrLen: number,
) => number = libc.func(
  'int sendto(int fd, void *bytes, int64_t len, int flags, int64_t addr, uint addrLen)',
);

const fcntlCall = libc.func('int fcntl(int fd, int cmd, ...)');
const ioctlCall = libc.func('int ioctl(int fd, ulong request, ...)');

/** fcntl(2) with an int argument. */
export const fcntl: Call = (fd, cmd, arg) => fcntlCall(fd, cmd, 'int', arg);
/** ioctl(2) with an address as argument. */
export const ioctl: Call = (fd, request, address) => ioctlCall(fd, request, 'int64_t', address);

/** The epoll descriptor of Node's own event loop (uv_backend_fd, exported by every node binary). */
export function nodeBackendFd(): number {
  const defaultLoop = libc.func('void *uv_default_loop()');
  const backendFd = libc.func('int uv_backend_fd(void *loop)');
  return backendFd(defaultLoop());
}

/** The errno of the last call above that returned -1. */
export const errno: () => number = koffi.errno;

/** Error numbers by name (EAGAIN, …) for this architecture. */
export const E = constants.errno;

/**
 * Returns "ECONNREFUSED: connection refused" for the number of ECONNREFUSED, and "error 4711" for an unknown
 * one.
 */
export function errorWords(code: number): string {
  const known = getSystemErrorMap().get(-code);
  return known === undefined ? `error ${code}` : `${known[0]}: ${known[1]}`;
}

/**
 * Memory outside the JavaScript heap. It never moves, so its address can be kept and passed to the kernel.
 */
export interface Pinned {
  readonly address: number;
  readonly bytes: Buffer;
  readonly words: Int32Array;
}

/** Allocates `size` zeroed bytes (a multiple of 4) that live as long as the process. */
export function pinned(size: number): Pinned {
  const pointer = koffi.alloc('uint8_t', size);
  const memory = koffi.view(pointer, size);
  const bytes = Buffer.from(memory);
  bytes.fill(0);
  return { address: Number(pointer), bytes, words: new Int32Array(memory) };
}

/**
 * Maps the first `size` bytes of `fd`, a multiple of 8, for reading and writing, and shares them with other processes
 * (MAP_SHARED). Returns undefined if mmap(2) fails: see errno().
 */
export function mapShared(fd: number, size: number): SharedMemory | undefined {
  const address = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address === MAP_FAILED) return undefined;
  const memory = koffi.view(address, size);
  return { address, words: new Int32Array(memory), numbers: new Float64Array(memory) };
}

/** Memory that other processes see too, and that outlives this one while its file is open anywhere. */
export interface SharedMemory {
  readonly address: number;
  readonly words: Int32Array;
  readonly numbers: Float64Array;
}

/** Writes an address, as a pointer, into two 32-bit words. */
export function writePointer(words: Int32Array, at: number, address: number): void {
  words[at] = address | 0;
  words[at + 1] = Math.floor(address / 2 ** 32);
}

/**
 * Reserves `size` bytes that live as long as the process, and returns their address. Their pages take up memory only once
 * they are written: large blocks of malloc(3) come from mmap(2).
 */
export function reserve(size: number): number {
  return Number(koffi.alloc('uint8_t', size));
}

/** Copies `size` bytes of memory at an address. */
export function copyFrom(address: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  memcpy(bytes, address, size);
  return bytes;
}

const memcpy: (to: Buffer, from: number, size: number) => void = libc.func(
  'void *memcpy(void *to, int64_t from, size_t size)',
);

/*
 * Constants of the kernel's user-space API (include/uapi/linux and asm-generic). They are the same on x86-64
 * and arm64.
 */
export const EPOLL_CLOEXEC = 0x80000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 0x1;
export const EPOLLPRI = 0x2;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
export const AF_UNSPEC = 0;
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;
export const SOL_SOCKET = 1;
export const SO_TYPE = 3;
export const SO_ERROR = 4;
export const SO_SNDBUF = 7;
export const SO_KEEPALIVE = 9;
export const SO_OOBINLINE = 10;
export const SO_PASSCRED = 16;
export const SO_PEERCRED = 17;
export const SO_LINGER = 13;
export const SO_BINDTODEVICE = 25;
export const SO_ACCEPTCONN = 30;
export const SO_DOMAIN = 39;
export const SO_PEEK_OFF = 42;
export const SCM_RIGHTS = 1;
export const IPPROTO_TCP = 6;
export const TCP_NODELAY = 1;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;
export const TCP_INFO = 11;
export const TCP_USER_TIMEOUT = 18;
export const TCP_ESTABLISHED = 1;
export const TCP_CLOSE = 7;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;
export const SPLICE_F_NONBLOCK = 2;
export const F_SETFL = 4;
export const F_GETFL = 3;
export const F_DUPFD_CLOEXEC = 1030;
export const F_SETPIPE_SZ = 1031;
export const F_GETPIPE_SZ = 1032;
export const O_NONBLOCK = 0x800;
export const O_CLOEXEC = 0x80000;
export const SIOCOUTQ = 0x5411;
export const FIONREAD = 0x541b;
export const SEEK_SET = 0;
export const SEEK_END = 2;
export const MFD_CLOEXEC = 1;
export const SIOCGIFINDEX = 0x8933;
export const RLIMIT_NOFILE = 7;
export const PROT_READ = 0x1;
export const PROT_WRITE = 0x2;
export const MAP_SHARED = 0x1;
export const MAP_FAILED = -1;
export const POLLOUT = 0x4;
export const POLLERR = 0x8;
export const POLLHUP = 0x10;
export const MSG_PEEK = 0x2;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CTRUNC = 0x8;
export const MSG_CMSG_CLOEXEC = 0x40000000;
export const MSG_ERRQUEUE = 0x2000;
export const SO_RCVBUF = 8;
export const IPPROTO_IP = 0;
export const IP_TTL = 2;
export const IP_PKTINFO = 8;
export const IP_RECVERR = 11;
export const IP_RECVTTL = 12;
export const IPPROTO_IPV6 = 41;
export const IPV6_UNICAST_HOPS = 16;
export const IPV6_RECVERR = 25;
export const IPV6_RECVPKTINFO = 49;
export const IPV6_RECVHOPLIMIT = 51;
export const SOL_UDP = 17;
export const UDP_GRO = 104;
export const SO_MEMINFO = 55;
export const SO_NETNS_COOKIE = 71;
