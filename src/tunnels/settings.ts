import { isIP, isIPv4 } from 'node:net';
import { parseArgs } from 'node:util';
import { split } from 'shlex';
import { KEY_FILE } from '../api/key.js';
import { readIfExists } from '../system/files.js';
import { canonicalAddress } from '../text/ip-address.js';

/**
 * What wormholed's options say about tunnels. The commands of this machine use the same.
 *
 * `internal` and `external` are the machine's addresses for tunnels, where they cannot be found out: the one on its interface,
 * and the one by which others reach it. `overlay` is the network that tunnels take their inner addresses from, `udpPorts` the
 * ports for ESP in UDP, both included.
 */
export interface TunnelSettings {
  keyFile: string;
  internal?: string;
  external?: string;
  overlay: string;
  udpPorts: { first: number; last: number };
}

/** The defaults. 100.64.0.0/14 is in the shared address space (RFC 6598), which no site uses inside. */
export const DEFAULT_SETTINGS = { keyFile: KEY_FILE, overlay: '100.64.0.0/14', udpPorts: '4500-4599' };

/** The words of those options, as they were typed. */
export interface SettingWords {
  key: string;
  internal?: string;
  external?: string;
  overlay: string;
  ports: string;
}

/** An option that makes no sense; the message names it and quotes its value. */
export class WrongOption extends Error {}

/** The options of the installed wormholed. */
const FILE = '/etc/wormhole/wormholed.conf';

/** Checks the options of wormholed that are about tunnels. @throws WrongOption */
export function checkSettings(words: SettingWords): TunnelSettings {
  const settings: TunnelSettings = {
    keyFile: words.key,
    overlay: checkOverlay(words.overlay),
    udpPorts: checkPorts(words.ports),
  };
  if (words.internal !== undefined) settings.internal = checkAddress('-I', words.internal);
  if (words.external !== undefined) settings.external = checkAddress('-E', words.external);
  return settings;
}

/** The settings of the installed wormholed. @throws WrongOption */
export function installedSettings(): TunnelSettings {
  const { values } = parseArgs({
    args: installedWords(),
    strict: false,
    options: {
      key: { type: 'string', short: 'K' },
      internal: { type: 'string', short: 'I' },
      external: { type: 'string', short: 'E' },
      overlay: { type: 'string', short: 'C' },
      ports: { type: 'string', short: 'P' },
      // Its value would otherwise count as an argument.
      idle: { type: 'string' },
    },
  });
  const given = Object.entries(values).filter(([, value]) => typeof value === 'string');
  const { keyFile, overlay, udpPorts } = DEFAULT_SETTINGS;
  return checkSettings({ key: keyFile, overlay, ports: udpPorts, ...Object.fromEntries(given) });
}

/** systemd removes the quotes around the value and splits it at spaces (EnvironmentFile= and ExecStart=). */
function installedWords(): string[] {
  const text = readIfExists(FILE) ?? '';
  const value = [...text.matchAll(/^\s*WORMHOLED_ARGS=(.*)$/gm)].at(-1)?.[1] ?? '';
  return split(value)
    .join(' ')
    .split(/\s+/)
    .filter((word) => word !== '');
}

function checkAddress(option: string, text: string): string {
  const address = canonicalAddress(text);
  if (address === undefined || isIP(address) === 0)
    throw new WrongOption(`${option} "${text}" is not an IP address`);
  return address;
}

function checkOverlay(text: string): string {
  const [, address = '', length = ''] = /^([0-9.]+)\/([0-9]{1,2})$/.exec(text) ?? [];
  // Every tunnel needs two addresses.
  if (isIPv4(address) && Number(length) >= 8 && Number(length) <= 28) return text;
  throw new WrongOption(
    `-C "${text}" is not an IPv4 network such as ${DEFAULT_SETTINGS.overlay}, of 8 to 28 bits`,
  );
}

function checkPorts(text: string): { first: number; last: number } {
  const [, one = '', other = one] = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text) ?? [];
  const [first, last] = [Number(one), Number(other)];
  if (first >= 1 && last <= 65_535 && first <= last) return { first, last };
  throw new WrongOption(`-P "${text}" is not a range of ports such as ${DEFAULT_SETTINGS.udpPorts}`);
}
