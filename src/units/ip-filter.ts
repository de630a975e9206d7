import {
  type Address,
  addressesOf,
  farChildOf,
  type IpAddress,
  type Link,
  localTailOf,
  namedTailOf,
} from '../recipe/link.js';
import { ipAddressOf } from '../recipe/protocols.js';
import { isUnix } from '../recipe/recipe.js';
import { unmapIPv4 } from '../text/ip-address.js';

/** Values for IPAddressDeny= and IPAddressAllow= (systemd.resource-control(5)). */
export interface IpFilter {
  deny: string;
  allow?: string;
}

/** What decides how packets leave this machine. */
export interface Routing {
  /** Whether a packet for 127.0.0.0/8 may go to another machine or container: net.ipv4.conf.*.route_localnet, ip-sysctl. */
  routesLoopback: boolean;
  /** The names that /etc/hosts gives a loopback address. Default: none. */
  loopbackNames?: ReadonlySet<string>;
}

/** What no link leads to, and what a forwarder that has been taken over could do most harm with: other services here, metadata. */
const LOOPBACK = 'localhost';
const NEIGHBOURS = 'link-local multicast';

/**
 * What the sockets that a forwarder makes may exchange packets with. It makes only those to its target.
 *
 * The kernel shows the filter each packet as it leaves the network namespace: after the rules of iptables have changed its address,
 * and once more after IPsec has wrapped it. So the target's address is all that is let through where neither happens: inside a
 * container or a named namespace, and on the loopback interface. For other targets, only what is certainly wrong is dropped. The
 * addresses of a name are not known, and DNS must not lead a link to what only this machine should reach.
 */
export function targetFilter(link: Link, routing: Routing): IpFilter {
  const { routesLoopback } = routing;
  const tail = localTailOf(link);
  if (link.tails) return { deny: 'any' };
  if (!tail) return farFilter(farChildOf(link)?.peer ?? '');
  if (namedTailOf(link)) return mayBeLoopback(link, routing) ? { deny: NEIGHBOURS } : farFilter('');
  const end = ipAddressOf(addressesOf(tail));
  if (!end) return { deny: 'any' };
  const address = addressOf(end);
  if (tail.place.kind !== 'host') return { deny: 'any', allow: address };
  if (!isLoopbackOnly(address)) return farFilter(address);
  return routesLoopback ? { deny: NEIGHBOURS } : { deny: 'any', allow: address };
}

/** Whether the name of a link's tail may lead to the loopback interface: /etc/hosts says so, which is the administrator's. */
export function mayBeLoopback(link: Link, { loopbackNames }: Routing): boolean {
  const tail = namedTailOf(link);
  const isHosts = tail?.place.kind === 'host' || tail?.place.kind === 'netns';
  return tail !== undefined && isHosts && loopbackNames?.has(tail.host.replace(/\.$/, '')) === true;
}

/** What the clients of a head may have for addresses; undefined for any. Only the namespace itself has clients on its loopback. */
export function clientFilter(head: Address & { also?: Address[] }): IpFilter | undefined {
  const hosts = [head, ...(head.also ?? [])].flatMap((one) => (isUnix(one) ? [] : one.host));
  return hosts.length > 0 && hosts.every(isLoopbackOnly) ? { deny: 'any', allow: LOOPBACK } : undefined;
}

/** The families of sockets that the forwarder of a link makes, beside AF_UNIX: those of its target. */
export function targetFamilies(link: Link): string {
  const tail = localTailOf(link);
  // It only hands clients over.
  if (link.tails) return '';
  if (!tail) return 'AF_INET AF_INET6';
  const end = ipAddressOf(addressesOf(tail));
  if (!end) return '';
  if (namedTailOf(link)) return 'AF_INET AF_INET6';
  return end.host.includes(':') ? 'AF_INET6' : 'AF_INET';
}

function farFilter(peer: string): IpFilter {
  if (isLoopbackOnly(peer) || peer === 'localhost') return { deny: NEIGHBOURS };
  return { deny: /^169\.254\.|^fe[89ab]/.test(peer) ? `${LOOPBACK} multicast` : `${LOOPBACK} ${NEIGHBOURS}` };
}

/** The address that packets to an end have: who connects to a wildcard is connected to the loopback address. */
function addressOf({ host }: Pick<IpAddress, 'host'>): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : unmapIPv4(host);
}

/** Whether an address is a loopback one; a wildcard is not, since it takes packets for every address. */
function isLoopbackOnly(address: string): boolean {
  return /^127\.|^::1$/.test(unmapIPv4(address));
}
