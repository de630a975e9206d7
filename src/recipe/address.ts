import { isIPv4, isIPv6 } from 'node:net';

/**
 * The canonical text of an IPv4 or IPv6 address (RFC 5952), so that equal addresses are equal strings; undefined
 * for whatever is no address. Addresses with a zone (`fe80::1%eth0`) are not accepted, nor brackets.
 */
export function canonicalAddress(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const address = new URL(`http://[${text}]`).hostname.slice(1, -1);
  return mappedIPv4(address) ?? address;
}

/** Whether a canonical address is of IPv6. */
export function isSix(address: string): boolean {
  return address.includes(':');
}

/** URL writes IPv4-mapped addresses in hexadecimal, where RFC 5952 wants `::ffff:192.0.2.1`. */
function mappedIPv4(address: string): string | undefined {
  const match = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(address);
  if (!match) return undefined;
  const [high, low] = [Number.parseInt(match[1] ?? '', 16), Number.parseInt(match[2] ?? '', 16)];
  return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}
