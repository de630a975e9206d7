/*
 * Control messages (cmsg(3)) of datagrams, in 32-bit words: struct cmsghdr is its size in 8 bytes, level and type, and
 * its data follow, padded to 8 bytes.
 */

const IPPROTO_IP = 0;
const IP_TTL = 2;
const IP_PKTINFO = 8;
const IP_RECVERR = 11;
const IPPROTO_IPV6 = 41;
const IPV6_RECVERR = 25;
const IPV6_PKTINFO = 50;
const IPV6_HOPLIMIT = 52;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

const HEADER_BYTES = 16;

/** What the control messages of a received datagram say. */
export interface ReceivedControl {
  /** Bytes of each of the datagrams that the kernel has joined (UDP_GRO, udp(7)); 0 for a single one. */
  segment: number;
  /** Where the local address begins in the words (IP_PKTINFO, ip(7); IPV6_PKTINFO, ipv6(7)); -1 without one. */
  localWord: number;
  /** Words of that address: 1 or 4; 0 without one. */
  localWords: number;
  /** Index of the interface on which it arrived; 0 if unknown. */
  device: number;
  /** Its TTL or hop limit when it arrived (IP_RECVTTL, ip(7); IPV6_RECVHOPLIMIT, ipv6(7)); 0 if unknown. */
  hops: number;
  /** errno of what the error queue tells of (IP_RECVERR, ip(7); IPV6_RECVERR, ipv6(7)); 0 for a datagram. */
  error: number;
}

/** Parses the control messages that begin at `first` in `words` and have `size` bytes. `into` is overwritten and returned. */
export function parseControl(
  words: Int32Array,
  first: number,
  size: number,
  into: ReceivedControl,
): ReceivedControl {
  into.segment = 0;
  into.localWord = -1;
  into.localWords = 0;
  into.device = 0;
  into.hops = 0;
  into.error = 0;
  const end = first + size / 4;
  for (let at = first; at + HEADER_BYTES / 4 <= end; ) {
    const length = words[at] as number;
    if (length < HEADER_BYTES) break;
    const [level, type, data] = [words[at + 2], words[at + 3], at + 4];
    if (level === SOL_UDP && type === UDP_GRO) {
      into.segment = words[data] as number;
    } else if (level === IPPROTO_IP && type === IP_PKTINFO) {
      // struct in_pktinfo: the interface, the local address of the route, the destination address.
      into.device = words[data] as number;
      into.localWord = data + 2;
      into.localWords = 1;
    } else if (level === IPPROTO_IPV6 && type === IPV6_PKTINFO) {
      // struct in6_pktinfo: the address, then the interface.
      into.device = words[data + 4] as number;
      into.localWord = data;
      into.localWords = 4;
    } else if (level === IPPROTO_IP ? type === IP_TTL : level === IPPROTO_IPV6 && type === IPV6_HOPLIMIT) {
      into.hops = words[data] as number;
    } else if (level === IPPROTO_IP ? type === IP_RECVERR : level === IPPROTO_IPV6 && type === IPV6_RECVERR) {
      // struct sock_extended_err begins with it.
      into.error = words[data] as number;
    }
    at += 2 * Math.ceil(length / 8);
  }
  return into;
}

/**
 * Writes a control message that makes IPv4 datagrams leave from `address`, by an interface (0: any). Returns its size with padding,
 * bytes.
 */
export function writeSource4(words: Int32Array, at: number, address: number, device: number): number {
  return write(words, at, IPPROTO_IP, IP_PKTINFO, [device, address, 0]);
}

/** Writes a control message that makes IPv6 datagrams leave from an address, by an interface (0: any). */
export function writeSource6(
  words: Int32Array,
  at: number,
  address: ArrayLike<number>,
  device: number,
): number {
  return write(words, at, IPPROTO_IPV6, IPV6_PKTINFO, [...Array.from(address), device]);
}

/** Writes a control message that makes the kernel send datagrams of `segment` bytes (UDP_SEGMENT, udp(7)). */
export function writeSegment(words: Int32Array, at: number, segment: number): number {
  const size = write(words, at, SOL_UDP, UDP_SEGMENT, [segment]);
  // The value has 16 bits.
  words[at] = HEADER_BYTES + 2;
  return size;
}

function write(words: Int32Array, at: number, level: number, type: number, data: number[]): number {
  words[at] = HEADER_BYTES + 4 * data.length;
  words[at + 1] = 0;
  words[at + 2] = level;
  words[at + 3] = type;
  for (const [i, word] of data.entries()) words[at + 4 + i] = word;
  return HEADER_BYTES + 8 * Math.ceil(data.length / 2);
}
