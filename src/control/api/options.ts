import { isIP, isIPv4 } from 'node:net';
import { canonicalAddress } from '../../recipe/address.js';
import { type Address, parseAddress } from './address.js';
import { KEY_FILE } from './key.js';

/**
 * How a daemon is set up.
 *
 * `addresses` is where it listens in the foreground; empty stands for the usual ones. `internal` and `external` are the
 * machine's addresses for tunnels, where they cannot be found out: the one on its interface, and the one that others
 * reach it by. `overlay` is where tunnels take their addresses from, `udpPorts` the ports for ESP in UDP, both included.
 */
export interface DaemonOptions {
  keyFile: string;
  addresses: Address[];
  internal?: string;
  external?: string;
  overlay: string;
  udpPorts: { first: number; last: number };
  /** Socket-activated, it ends after so many seconds without a caller. */
  idle: number;
}

/** What holds when nothing is said. 100.65.0.0/14 is of the shared address space (RFC 6598), which no site uses inside. */
export const DEFAULTS = { keyFile: KEY_FILE, overlay: '100.65.0.0/14', udpPorts: '4500-4599', idle: '60' };

/** The words of wormholed's options, as they were typed. */
export interface OptionWords {
  key: string;
  host?: string[];
  internal?: string;
  external?: string;
  overlay: string;
  ports: string;
  idle: string;
}

/** An option that makes no sense; the message names it and quotes its value. */
export class WrongOption extends Error {}

/** Checks the options of wormholed. @throws WrongOption, NoAddress */
export function checkOptions(words: OptionWords): DaemonOptions {
  const options: DaemonOptions = {
    keyFile: words.key,
    addresses: (words.host ?? []).map(parseAddress),
    overlay: checkOverlay(words.overlay),
    udpPorts: checkPorts(words.ports),
    idle: checkIdle(words.idle),
  };
  if (words.internal !== undefined) options.internal = checkMachineAddress('-I', words.internal);
  if (words.external !== undefined) options.external = checkMachineAddress('-E', words.external);
  return options;
}

function checkMachineAddress(option: string, text: string): string {
  const address = canonicalAddress(text);
  if (address === undefined || isIP(address) === 0)
    throw new WrongOption(`${option} "${text}" is not an IP address`);
  return address;
}

function checkOverlay(text: string): string {
  const [, address = '', length = ''] = /^([0-9.]+)\/([0-9]{1,2})$/.exec(text) ?? [];
  // Two addresses for each tunnel need room.
  if (isIPv4(address) && Number(length) >= 8 && Number(length) <= 28) return text;
  throw new WrongOption(`-C "${text}" is not an IPv4 network such as ${DEFAULTS.overlay}, of 8 to 28 bits`);
}

function checkPorts(text: string): { first: number; last: number } {
  const [, one = '', other = one] = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text) ?? [];
  const [first, last] = [Number(one), Number(other)];
  if (first >= 1 && last <= 65_535 && first <= last) return { first, last };
  throw new WrongOption(`-P "${text}" is not a range of ports such as ${DEFAULTS.udpPorts}`);
}

function checkIdle(text: string): number {
  const seconds = /^[0-9]{1,6}$/.test(text) ? Number(text) : 0;
  if (seconds >= 1) return seconds;
  throw new WrongOption(`--idle "${text}" is not a number of seconds, 1 or more`);
}
