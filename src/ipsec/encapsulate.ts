import koffi from 'koffi';

/** linux/in.h and linux/udp.h: the socket's ESP goes to the kernel, all else to the reader of the socket. */
const IPPROTO_UDP = 17;
const UDP_ENCAP = 100;
const UDP_ENCAP_ESPINUDP = 2;

/** Has the kernel take ESP out of what a UDP socket receives (udp(7); RFC 3948). @throws Error when it cannot */
export function encapsulate(fd: number): void {
  const setsockopt = koffi
    .load('libc.so.6')
    .func('int setsockopt(int fd, int level, int name, void *value, uint size)');
  const value = Buffer.alloc(4);
  value.writeInt32LE(UDP_ENCAP_ESPINUDP);
  if (setsockopt(fd, IPPROTO_UDP, UDP_ENCAP, value, value.length) === 0) return;
  throw new Error(
    `the kernel does not take ESP out of UDP (errno ${koffi.errno()}): is esp4 or esp6 missing?`,
  );
}
