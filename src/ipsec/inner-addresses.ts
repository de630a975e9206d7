import { randomInt } from 'node:crypto';
import type { AddressPair } from '../text/ip-address.js';

/** An IPv4 network: its first address as a number, and how many bits of it count. */
export interface Network {
  first: number;
  bits: number;
}

/** What is in use: the addresses of this machine and of its tunnels, and the networks that it has routes to. */
export interface Occupied {
  addresses: ReadonlySet<string>;
  networks: Network[];
}

/** This many pairs of addresses are offered to the other side, which takes the first that is free there too. */
const OFFERED = 16;

/** Reads an IPv4 address or network, such as `100.64.0.0/14`; the bits that do not count are ignored. */
export function parseNetwork(text: string): Network {
  const [address = '', length = '32'] = text.split('/');
  const bits = Number(length);
  const size = 2 ** (32 - bits);
  const number = toNumber(address);
  return { first: number - (number % size), bits };
}

/**
 * Chooses pairs of neighbouring addresses in a network, at random, that are free here: the even one for us, the odd one
 * for the other machine.
 *
 * @param random returns a number from 0 up to, but excluding, the given one
 * @returns at most 16; none when the network is full
 */
export function chooseInnerAddresses(
  within: string,
  occupied: Occupied,
  random: (below: number) => number = randomInt,
): AddressPair[] {
  const { first, bits } = parseNetwork(within);
  const pairs = 2 ** (32 - bits) / 2;
  const start = random(pairs);
  const chosen: AddressPair[] = [];
  // In a large network, a stride that has no divisor in common with a power of two visits every pair, far apart.
  const stride = pairs > OFFERED ? 2 * random(pairs / 2) + 1 : 1;
  for (let step = 0; step < Math.min(pairs, 4096) && chosen.length < OFFERED; step++) {
    const local = first + 2 * ((start + step * stride) % pairs);
    const pair = { local: toText(local), remote: toText(local + 1) };
    if (isFree(pair, within, occupied)) chosen.push(pair);
  }
  return chosen;
}

/**
 * Whether both addresses of a tunnel can be used here: they are two, in the network that tunnels take their addresses from, not in
 * use, and no route to them is more specific than that network.
 */
export function isFree(
  { local, remote }: AddressPair,
  within: string,
  { addresses, networks }: Occupied,
): boolean {
  const allowed = parseNetwork(within);
  const { bits } = allowed;
  return (
    local !== remote &&
    [local, remote].every(
      (address) =>
        holds(allowed, toNumber(address)) &&
        !addresses.has(address) &&
        !networks.some((network) => network.bits >= bits && holds(network, toNumber(address))),
    )
  );
}

function holds({ first, bits }: Network, number: number): boolean {
  return number >= first && number < first + 2 ** (32 - bits);
}

function toNumber(address: string): number {
  return address.split('.').reduce((number, byte) => number * 256 + Number(byte), 0);
}

function toText(number: number): string {
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join('.');
}
