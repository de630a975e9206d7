import type { Address } from '../address.js';
import { bindToDevice } from '../device.js';
import {
  AF_INET,
  AF_UNIX,
  close,
  errno,
  IP_RECVERR,
  IP_TTL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_RECVERR,
  IPV6_UNICAST_HOPS,
  pinned,
  SO_PASSCRED,
  SO_RCVBUF,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  SOL_UDP,
  setsockopt,
  socket,
  UDP_GRO,
} from '../syscalls.js';

/**
 * The TTL of datagrams to the target, at most: the usual one (RFC 1700). It is less than that of the client's, as behind a router, so
 * that a datagram which links lead round in a circle comes to an end.
 */
const MOST_HOPS = 64;

/** The receive buffer of a session, bytes: as much as net.core.rmem_max allows (socket(7)). */
const RECEIVE_BYTES = 4 << 20;

const value = pinned(4);

/**
 * Creates the socket of a session, to be connected to the target. `hops` is the TTL of the client's first datagram, 0 if unknown.
 * Returns its descriptor, or the error number negated.
 */
export function createSocket(to: Address, hops: number): number {
  const fd = socket(to.family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno();
  const isUnix = to.family === AF_UNIX;
  const set = (level: number, name: number, number: number) => {
    value.words[0] = number;
    setsockopt(fd, level, name, value.address, 4);
  };
  set(SOL_SOCKET, SO_RCVBUF, RECEIVE_BYTES);
  if (isUnix) {
    // The kernel gives the socket a name when it is connected (unix(7)), without which the target could not answer.
    set(SOL_SOCKET, SO_PASSCRED, 1);
    return fd;
  }
  set(SOL_UDP, UDP_GRO, 1);
  // The kernel tells then which datagram was refused.
  if (to.family === AF_INET) set(IPPROTO_IP, IP_RECVERR, 1);
  else set(IPPROTO_IPV6, IPV6_RECVERR, 1);
  if (hops > 0) {
    const left = Math.min(hops - 1, MOST_HOPS);
    set(IPPROTO_IP, IP_TTL, left);
    if (to.family !== AF_INET) set(IPPROTO_IPV6, IPV6_UNICAST_HOPS, left);
  }
  if (to.device === undefined || bindToDevice(fd, to.device)) return fd;
  const refusal = errno();
  close(fd);
  return -refusal;
}
