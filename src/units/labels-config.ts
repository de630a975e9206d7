import { BlockList, isIPv6 } from 'node:net';
import { isNetwork } from '../text/network.js';
import { quoted } from '../text/quote.js';
import { FaultyFile, type FileFault, type Source } from './declaration.js';
import { parseFile } from './syntax.js';

/** What labels of containers may ask for on this host. */
export interface LabelPolicy {
  /** The networks of the addresses that `wormhole.expose.NAME` may listen at, such as `127.0.0.0/8`. */
  addresses: string[];
  /** The ports that it may listen at, both ends included. */
  ports: PortRange[];
}

/** Ports from one to another. */
export interface PortRange {
  from: number;
  to: number;
}

/** What counts without a file: every address, and the ports that a program without privileges could take. */
export const DEFAULT_POLICY: LabelPolicy = {
  addresses: ['0.0.0.0/0', '::/0'],
  ports: [{ from: 1024, to: 65535 }],
};

const KEYS = {
  ExposeAddresses: ['addresses', readNetwork],
  ExposePorts: ['ports', readPorts],
} as const;

/**
 * Reads /etc/wormhole/labels.conf: a section [Labels] with ExposeAddresses= and ExposePorts=, each a list of words. What is said
 * several times adds up; an empty value takes back what is said before it, the default included.
 *
 * @throws FaultyFile
 */
export function parseLabelPolicy({ path, text }: Source): LabelPolicy {
  const { sections, settings, faults: syntax } = parseFile(text);
  const faults: FileFault[] = syntax.map((fault) => ({ path, ...fault }));
  for (const { name, line } of sections)
    if (name !== 'Labels' && !name.startsWith('X-'))
      faults.push({ path, line, message: 'the only section here is [Labels]' });
  const said: { [name in keyof LabelPolicy]?: unknown[] } = {};
  for (const { section, key, value, line } of settings) {
    if (section !== 'Labels') continue;
    const known = Object.hasOwn(KEYS, key) ? KEYS[key as keyof typeof KEYS] : undefined;
    if (!known) {
      const names = Object.keys(KEYS).map((name) => `${name}=`);
      faults.push({
        path,
        line,
        message: `${quoted(key)} is not a setting of [Labels]; there are ${names.join(' ')}`,
      });
      continue;
    }
    const [name, read] = known;
    if (value === '') said[name] = [];
    for (const word of value.split(/[ \t]+/).filter(Boolean)) {
      try {
        said[name] = [...(said[name] ?? []), read(word)];
      } catch (error) {
        faults.push({ path, line, message: `${key}=: ${quoted(word)}: ${(error as Error).message}` });
      }
    }
  }
  if (faults.length > 0) throw new FaultyFile(faults);
  return { ...DEFAULT_POLICY, ...said } as LabelPolicy;
}

/** Whether labels may listen at an address. A wildcard stands for every address, so the network of all has to be allowed. */
export function allowsAddress({ addresses }: LabelPolicy, address: string): boolean {
  if (address === '0.0.0.0') return addresses.includes('0.0.0.0/0');
  if (address === '::') return ['0.0.0.0/0', '::/0'].every((all) => addresses.includes(all));
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  for (const network of addresses) {
    const [host = '', bits] = network.split('/');
    // To a BlockList, IPv4 addresses are in ::/0 as well.
    if (isIPv6(host) !== (family === 'ipv6')) continue;
    list.addSubnet(host, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family);
  }
  return list.check(address, family);
}

/** Whether labels may listen at a port. */
export function allowsPort({ ports }: LabelPolicy, port: number): boolean {
  return ports.some(({ from, to }) => from <= port && port <= to);
}

/** Ports as the file has them. */
export function describePorts({ ports }: LabelPolicy): string {
  return ports.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)).join(' ') || 'none';
}

function readNetwork(word: string): string {
  if (isNetwork(word)) return word;
  throw new Error('expected a network or an address, such as 10.0.0.0/8 or 127.0.0.1');
}

function readPorts(word: string): PortRange {
  const [, first = '', last = first] = /^([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?$/.exec(word) ?? [];
  const [from, to] = [Number(first), Number(last)];
  if (first !== '' && from <= to && to <= 65535) return { from, to };
  throw new Error('expected a port or a range of ports, such as 8080 or 8000-8999');
}
