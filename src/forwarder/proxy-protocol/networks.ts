import { readHost } from '../address.js';
import { AF_INET, AF_INET6, pinned } from '../syscalls.js';
import { addressOf, createEndpoint, type Endpoint, ipv4Of, isIPv4 } from './endpoints.js';

/** A network: all addresses of one family that have the first `bits` in common with `address`, of 4 or 16 bytes. */
export interface Network {
  readonly address: Buffer;
  readonly bits: number;
}

const host = pinned(16);

/**
 * Parses networks such as "10.0.0.0/8,fd00::/8"; an address alone is a network of its own. IPv4 addresses may be written
 * ::ffff:a.b.c.d. Throws an Error that names `option` and quotes what is wrong.
 */
export function parseNetworks(option: string, text: string): Network[] {
  return text.split(',').map((part) => {
    const network = parseNetwork(part);
    if (network === undefined)
      throw new Error(`${option} "${part}" is not a network like 10.0.0.0/8 or fd00::/8`);
    return network;
  });
}

function parseNetwork(text: string): Network | undefined {
  const [, address = '', length] = /^([^/]+?)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const isV4 = !address.includes(':');
  const most = isV4 ? 32 : 128;
  const bits = length === undefined ? most : Number(length);
  if (bits > most || !readHost(isV4 ? AF_INET : AF_INET6, address, host.address)) return undefined;
  const endpoint = createEndpoint(host.bytes.subarray(0, isV4 ? 4 : 16), 0);
  if (isV4) return { address: Buffer.from(ipv4Of(endpoint)), bits };
  if (isIPv4(endpoint) && bits >= 96) return { address: Buffer.from(ipv4Of(endpoint)), bits: bits - 96 };
  return { address: Buffer.from(addressOf(endpoint)), bits };
}

/** Whether an endpoint is in one of the networks. */
export function isInNetworks(networks: readonly Network[], endpoint: Endpoint): boolean {
  const address = isIPv4(endpoint) ? ipv4Of(endpoint) : addressOf(endpoint);
  return networks.some((network) => network.address.length === address.length && isIn(network, address));
}

function isIn(network: Network, address: Buffer): boolean {
  const whole = network.bits >> 3;
  if (network.address.compare(address, 0, whole, 0, whole) !== 0) return false;
  const mask = (0xff00 >> (network.bits & 7)) & 0xff;
  return (((network.address[whole] ?? 0) ^ (address[whole] ?? 0)) & mask) === 0;
}
