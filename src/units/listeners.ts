import { address } from '../recipe/describe.js';
import { addressesOf, type End } from '../recipe/link.js';
import { type Kind, kindOf } from '../recipe/protocols.js';
import { isPath, isUnix } from '../recipe/recipe.js';
import { isAlwaysPresent } from '../text/ip-address.js';

/** The settings by which systemd listens (systemd.socket(5)). */
const SETTINGS: Record<Kind, string> = {
  stream: 'ListenStream',
  datagram: 'ListenDatagram',
  seqpacket: 'ListenSequentialPacket',
};

/** The listeners of a head as its socket unit has them, and what they have in common: settings there hold for all of them. */
export interface Listeners {
  /** A setting and its value for each. */
  listen: { setting: string; address: string }[];
  /** Whether an address may come up after the socket. */
  freeBind: boolean;
  /** Whether one of them is a path. */
  hasPath: boolean;
  /** Whether all of them are TCP. */
  isTcp: boolean;
  /** Whether one of them is UDP. */
  hasUdp: boolean;
  /** Whether all of them are UDP. */
  isUdp: boolean;
}

/** How systemd listens at a head. */
export function listenersOf(head: End): Listeners {
  const addresses = addressesOf(head);
  return {
    listen: addresses.map((listener) => ({
      setting: SETTINGS[kindOf(listener.protocol)],
      address: address(listener),
    })),
    freeBind: addresses.some((listener) => !isUnix(listener) && !isAlwaysPresent(listener.host)),
    hasPath: addresses.some(isPath),
    isTcp: addresses.every(({ protocol }) => protocol === 'tcp'),
    hasUdp: addresses.some(({ protocol }) => protocol === 'udp'),
    isUdp: addresses.every(({ protocol }) => protocol === 'udp'),
  };
}
