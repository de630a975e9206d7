import { isIPv4, isIPv6 } from 'node:net';

/** The addresses of both ends, as this machine sees them. */
export interface AddressPair {
  local: string;
  remote: string;
}

/**
 * The canonical text of an IPv4 or IPv6 address (RFC 5952), so that equal addresses are equal strings; undefined for
 * anything else. Addresses with a zone (`fe80::1%eth0`) and brackets are not accepted.
 */
export function canonicalAddress(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const address = new URL(`http://[${text}]`).hostname.slice(1, -1);
  return mappedIPv4(address) ?? address;
}

/** `127.0.0.1:80` or `[::1]:80`; without a port, only the address. */
export function hostPort(host: string, port?: number): string {
  const bracketed = isIPv6(host) ? `[${host}]` : host;
  return port === undefined ? bracketed : `${bracketed}:${port}`;
}

/** Whether an address belongs to the loopback network, or is one of the two wildcards: every network namespace has it. */
export function isAlwaysPresent(address: string): boolean {
  return /^127\.|^0\.0\.0\.0$|^::1?$/.test(address);
}

/** Whether an address can be that of one machine: it is no loopback, wildcard, multicast or broadcast address. */
export function isUnicast(address: string): boolean {
  if (isIPv4(address)) return !/^(?:0|127|22[4-9]|2[3-5]\d)\./.test(address);
  return isIPv6(address) && !/^(?:::1?$|ff|::ffff:)/.test(address);
}

/** The IPv4 address in an IPv4-mapped one, `::ffff:10.0.0.2`: so a socket on [::] sees an IPv4 client. Others stay. */
export function unmapIPv4(address: string): string {
  return address.replace(/^::ffff:(?=[0-9.]+$)/, '');
}

/** An address without the zone of a link-local one, which each machine calls differently: `fe80::1` for `fe80::1%eth0`. */
export function withoutZone(address: string): string {
  return address.replace(/%.*/, '');
}

/** URL writes IPv4-mapped addresses in hexadecimal, where RFC 5952 wants `::ffff:192.0.2.1`. */
function mappedIPv4(address: string): string | undefined {
  const match = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(address);
  if (!match) return undefined;
  const [high, low] = [Number.parseInt(match[1] ?? '', 16), Number.parseInt(match[2] ?? '', 16)];
  return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}
