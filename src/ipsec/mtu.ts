import { isIPv6 } from 'node:net';

/** No path is taken to carry more, bytes, so that one behind another tunnel or PPPoE does not swallow large packets. */
const PATH = 1400;

/** What IPv4, IPv6 and UDP put in front, bytes. */
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;

/** ESP's own: SPI and sequence number 8, IV 8, tag 16 (RFC 4303, 2; RFC 4106, 3); 2 for pad length and next header. */
const ESP = 8 + 8 + 16;
const TRAILER = 2;

/**
 * The MTU of a tunnel's interface, bytes: the largest packet that, encrypted, fits into one of 1400 bytes, or into what
 * the device carries if that is less.
 *
 * ESP fills the packet and its trailer up to a multiple of 4. So over IPv4 it is 1400 - 20 - 32 = 1348, which is one,
 * less 2: 1346. Over IPv6 it is 1326, and in UDP 8 less of each: 1338 and 1318.
 *
 * @param device the MTU of the device that leads to the peer
 * @param peer its outer address
 */
export function tunnelMtu(device: number, peer: string, udp: boolean): number {
  const headers = (isIPv6(peer) ? IPV6_HEADER : IPV4_HEADER) + (udp ? UDP_HEADER : 0);
  const room = Math.min(device, PATH) - headers - ESP;
  return room - (room % 4) - TRAILER;
}
