import { closeSync } from 'node:fs';
import koffi from 'koffi';

/* Unix sockets of every type (unix(7)), for which Node has no name. They do not block. */

const libc = koffi.load(null);
const [AF_UNIX, SOCK_NONBLOCK, SOCK_CLOEXEC, SHUT_WR] = [1, 0x800, 0x80000, 1];
const TYPES = { unix: 1, unixgram: 2, unixpacket: 5 } as const;

const calls = {
  socket: libc.func('int socket(int, int, int)'),
  bind: libc.func('int bind(int, void *, uint)'),
  listen: libc.func('int listen(int, int)'),
  accept: libc.func('int accept4(int, void *, void *, int)'),
  connect: libc.func('int connect(int, void *, uint)'),
  send: libc.func('int sendto(int, void *, int64_t, int, void *, uint)'),
  receive: libc.func('int recvfrom(int, void *, int64_t, int, void *, void *)'),
  shutdown: libc.func('int shutdown(int, int)'),
};

const open = new Set<number>();
const room = Buffer.alloc(1 << 20);

/** The sockaddr of a path, of an abstract name written "@name", or of a name that the kernel chooses. */
function sockaddr(address: string | undefined): Buffer {
  const bytes = Buffer.from(`\0\0${address === undefined ? '' : address.replace(/^@/, '\0')}`);
  bytes.writeUInt16LE(AF_UNIX, 0);
  return address?.startsWith('/') ? Buffer.concat([bytes, Buffer.from('\0')]) : bytes;
}

function check(result: number, what: string): number {
  if (result < 0) throw new Error(`${what}: errno ${koffi.errno()}`);
  return result;
}

/** A unix socket. */
export interface UnixSocket {
  readonly fd: number;
  /** Binds it to an address, or to a name that the kernel chooses. */
  bind(address?: string): UnixSocket;
  listen(backlog?: number): UnixSocket;
  connect(address: string): UnixSocket;
  /** The next client; undefined if there is none. */
  accept(): UnixSocket | undefined;
  /** Sends a message. False when there is no room. */
  send(message: Buffer | string): boolean;
  /** The next message and the sockaddr of its sender; undefined if there is none. An empty one may be the end. */
  receive(): { message: Buffer; from: Buffer } | undefined;
  /** Sends a message to a sockaddr. */
  answer(message: Buffer, to: Buffer): boolean;
  end(): void;
  close(): void;
}

/** Creates a socket of a type. */
export function unixSocket(type: keyof typeof TYPES): UnixSocket {
  return wrap(check(calls.socket(AF_UNIX, TYPES[type] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket'));
}

function wrap(fd: number): UnixSocket {
  open.add(fd);
  const self: UnixSocket = {
    fd,
    bind: (address) => {
      const to = sockaddr(address);
      check(calls.bind(fd, to, to.length), `bind ${address}`);
      return self;
    },
    listen: (backlog = 100) => {
      check(calls.listen(fd, backlog), 'listen');
      return self;
    },
    connect: (address) => {
      const to = sockaddr(address);
      check(calls.connect(fd, to, to.length), `connect ${address}`);
      return self;
    },
    accept: () => {
      const client = calls.accept(fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
      return client < 0 ? undefined : wrap(client);
    },
    send: (message) => sendTo(Buffer.from(message), null),
    receive: () => {
      const from = Buffer.alloc(112);
      const size = Buffer.from([112, 0, 0, 0]);
      const length = calls.receive(fd, room, room.length, 0, from, size);
      if (length < 0) return undefined;
      return { message: Buffer.from(room.subarray(0, length)), from: from.subarray(0, size.readUInt32LE()) };
    },
    answer: sendTo,
    end: () => calls.shutdown(fd, SHUT_WR),
    close: () => {
      if (open.delete(fd)) closeSync(fd);
    },
  };
  function sendTo(message: Buffer, to: Buffer | null): boolean {
    return calls.send(fd, message, message.length, 0x4000, to, to?.length ?? 0) >= 0;
  }
  return self;
}

/** Closes what this module has opened. */
export function closeUnixSockets(): void {
  for (const fd of open) closeSync(fd);
  open.clear();
}
