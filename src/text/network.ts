import { isIPv4, isIPv6 } from 'node:net';

/** Whether a text is an IPv4 or IPv6 network such as `10.0.0.0/8` or `fd00::/8`, or an address, which is a network of its own. */
export function isNetwork(text: string): boolean {
  const [, address = '', length] = /^([^/%]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text) ?? [];
  const most = isIPv4(address) ? 32 : isIPv6(address) ? 128 : -1;
  return most >= 0 && Number(length ?? most) <= most;
}
