import koffi from 'koffi';

/** bits/socket.h: AF_UNIX, SOCK_DGRAM, SOCK_CLOEXEC. */
const AF_UNIX = 1;
const SOCK_DGRAM = 2 | 0x80000;

/**
 * Tells systemd the state of this service, sd_notify(3): `READY=1`, `STATUS=pulling nginx`. Does nothing when systemd does not ask
 * for it, or does not listen. systemd-notify(1) would be a process of its own, which NotifyAccess= has to allow.
 *
 * @param assignments one each; what breaks a line in them is taken for a blank
 */
export function notifySystemd(...assignments: string[]): void {
  const path = process.env.NOTIFY_SOCKET;
  if (path === undefined || path === '') return;
  const libc = koffi.load('libc.so.6');
  const fd: number = libc.func('int socket(int family, int type, int protocol)')(AF_UNIX, SOCK_DGRAM, 0);
  const message = Buffer.from(assignments.map((text) => text.replaceAll(/\s+/g, ' ')).join('\n'));
  const address = addressOf(path);
  const sendto = libc.func(
    'int64_t sendto(int fd, void *bytes, size_t size, int flags, void *to, uint length)',
  );
  sendto(fd, message, message.length, 0, address, address.length);
  libc.func('int close(int fd)')(fd);
}

/** struct sockaddr_un, unix(7), of a path or of an abstract name written `@name`. */
function addressOf(path: string): Buffer {
  const isAbstract = path.startsWith('@');
  const address = Buffer.alloc(2 + Buffer.byteLength(path) + (isAbstract ? 0 : 1));
  address.writeUInt16LE(AF_UNIX);
  address.write(path, 2);
  if (isAbstract) address[2] = 0;
  return address;
}
