import { parseArgs } from 'node:util';
import { type AccessRule, createAccessRule } from './access.js';
import { type Address, parseAddress } from './address.js';
import { BALANCE_OPTIONS, type BalanceOptions, parseBalance } from './balance/options.js';
import { type Device, parseDevice } from './device.js';
import type { Version } from './proxy-protocol/format.js';
import { type Network, parseNetworks } from './proxy-protocol/networks.js';
import { isUnixAddress, parseUnixAddress } from './unix/address.js';
import { parseWorkers, type Workers } from './workers/count.js';

/** The parsed command line. */
export interface Options {
  /** The id of the link, for log messages. */
  readonly link: string;
  /** The target; undefined if `toFile` names it. */
  readonly to: Address | undefined;
  /**
   * A file that holds the address of a target on another machine, or the reason why there is none (see
   * resolver.ts).
   */
  readonly toFile: string | undefined;
  /** The name and the port of the target, "db.example.com:5432", if `toFile` holds the addresses of a name (see name-file.ts). */
  readonly name: string | undefined;
  /** The socket of the service that rewrites that file when the target is unreachable. */
  readonly ask: Address | undefined;
  /** The socket of the service that starts the target again, when that refuses connections. Default: nothing does. */
  readonly restarter: Address | undefined;
  /** Which clients are admitted. Default: all. */
  readonly allow: AccessRule | undefined;
  /** The only network interface through which clients are served. Default: any. */
  readonly device: Device | undefined;
  /**
   * How long another machine may be silent, ms: the one of the target with `toFile`, the one of the clients
   * with `allow`. Default: until the kernel gives up.
   */
  readonly peerTimeout: number | undefined;
  /** Where the target is, in log messages: "container mysql". */
  readonly location: string | undefined;
  /** Exit after this long without a connection, ms; 0 means never. Default 60 s. */
  readonly idle: number;
  /** How long the target may refuse connections before a client is reset, ms. Default 5 s. */
  readonly dialTimeout: number;
  /** A file whose existence says that starting the target has failed. */
  readonly failedFile: string | undefined;
  /**
   * The most connections at a time. Default 4000; at most as many as the file descriptors suffice for.
   */
  readonly maxOpen: number;
  /** The most connections of one address at a time. Default: any number. */
  readonly maxPerSource: number | undefined;
  /** The most new connections in a second. Default: any number. */
  readonly rate: number | undefined;
  /** A connection on which no byte has moved for this long is reset, ms. Default: never. */
  readonly idleTimeout: number | undefined;
  /** After this much silence, the kernel probes both peers of a connection, seconds. Default: never. */
  readonly keepAlive: number | undefined;
  /** A session of datagrams ends after this long without one, ms. Default 60 s. */
  readonly udpTimeout: number;
  /** The most sessions of datagrams at a time. Default 4096, at most as many as the file descriptors suffice for. */
  readonly maxSessions: number;
  /** The descriptor of the file with the figures of the link; undefined: they are lost when the process ends. */
  readonly counters: number | undefined;
  /** The version of the PROXY header that the target gets. Default: none. */
  readonly proxyProtocol: Version | undefined;
  /** The networks whose clients begin with a PROXY header. Default: none. */
  readonly acceptProxyProtocol: readonly Network[];
  /** The tails that clients are handed over to; undefined: the target is `to`. */
  readonly balance: BalanceOptions | undefined;
  /**
   * Set if clients are those that a front forwarder offers: whether it is told of a failed attempt to connect at once, or the
   * attempt is repeated first.
   */
  readonly handOff: 'once' | 'retry' | undefined;
  /** How often it is checked whether the targets of offered clients accept, ms. Default: never. */
  readonly checkEvery: number | undefined;
  /** How many threads relay connections besides the first, which accepts them; undefined: the first does that too. */
  readonly workers: Workers | undefined;
  /** Files that tell how much time on processors the process may use, as cpu.max of a control group. */
  readonly cpuLimits: readonly string[];
}

/** The most that TCP_KEEPIDLE takes, seconds (MAX_TCP_KEEPIDLE, net/tcp.h). */
const MAX_KEEPIDLE = 32_767;

/** The usage message, on one line. */
export const USAGE =
  'usage: --link ID (--to ADDRESS:PORT|PATH|@NAME | --to-file FILE [--ask SOCKET]) [--allow ADDRESS] [--interface NAME] [--peer-timeout SECONDS] [--place WORDS] [--idle SECONDS] [--dial-timeout SECONDS] [--given-up FILE] [--max-connections N] [--max-per-source N] [--rate N] [--idle-timeout SECONDS] [--keepalive SECONDS] [--udp-timeout SECONDS] [--max-sessions N] [--counters FD] [--proxy-protocol v1|v2] [--accept-proxy-protocol NETWORK[,NETWORK…]] [--name NAME:PORT] [--hand-off once|retry] [--check SECONDS] [--restarter SOCKET] [--workers N|auto [--cpu-limit FILE]…]; or --link ID --tail "NAME SOCKET WEIGHT SECONDS [on-demand]"… [--balance POLICY] [--drained NAME]… [--drained-file FILE]';

/** Parses the command line (without node and the script). Throws an Error that quotes what is wrong. */
export function parseOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      link: { type: 'string' },
      to: { type: 'string' },
      'to-file': { type: 'string' },
      ask: { type: 'string' },
      allow: { type: 'string' },
      interface: { type: 'string' },
      'peer-timeout': { type: 'string' },
      place: { type: 'string' },
      idle: { type: 'string', default: '60' },
      'dial-timeout': { type: 'string', default: '5' },
      'given-up': { type: 'string' },
      'max-connections': { type: 'string', default: '4000' },
      'max-per-source': { type: 'string' },
      rate: { type: 'string' },
      'idle-timeout': { type: 'string' },
      keepalive: { type: 'string' },
      'udp-timeout': { type: 'string', default: '60' },
      'max-sessions': { type: 'string', default: '4096' },
      counters: { type: 'string' },
      'proxy-protocol': { type: 'string' },
      'accept-proxy-protocol': { type: 'string' },
      name: { type: 'string' },
      'hand-off': { type: 'string' },
      check: { type: 'string' },
      restarter: { type: 'string' },
      workers: { type: 'string' },
      'cpu-limit': { type: 'string', multiple: true },
      ...BALANCE_OPTIONS,
    },
  });
  if (values.link === undefined || values.link === '') throw new Error('--link is missing');
  const { to, 'to-file': toFile, ask, allow, 'peer-timeout': peerTimeout, rate, keepalive } = values;
  const { 'max-per-source': maxPerSource, 'idle-timeout': idleTimeout } = values;
  const balance = parseBalance(values);
  if (to === undefined && toFile === undefined && balance === undefined)
    throw new Error('--to is missing, and --to-file too');
  if (to !== undefined && toFile !== undefined) {
    throw new Error(`--to "${to}" and --to-file "${toFile}" exclude each other`);
  }
  if (ask !== undefined && toFile === undefined) throw new Error(`--ask "${ask}" needs --to-file`);
  const { 'proxy-protocol': proxyProtocol, 'accept-proxy-protocol': acceptProxy } = values;
  if (allow !== undefined && (proxyProtocol ?? acceptProxy) !== undefined) {
    throw new Error(
      `--allow "${allow}" and PROXY headers exclude each other: the forwarder of that machine sends them`,
    );
  }
  if (values.workers !== undefined && balance !== undefined)
    throw new Error(`--workers "${values.workers}" and --tail exclude each other: the tails relay`);
  if (values.name !== undefined && toFile === undefined)
    throw new Error(`--name "${values.name}" needs --to-file`);
  return {
    link: values.link,
    to: to === undefined ? undefined : parseTarget(to),
    toFile,
    name: values.name,
    ask: ask === undefined ? undefined : parseUnixAddress('--ask', ask),
    restarter: values.restarter === undefined ? undefined : parseUnixAddress('--restarter', values.restarter),
    allow: allow === undefined ? undefined : createAccessRule(allow),
    device: values.interface === undefined ? undefined : parseDevice(values.interface),
    peerTimeout: peerTimeout === undefined ? undefined : 1000 * seconds('--peer-timeout', peerTimeout),
    location: values.place,
    idle: 1000 * number('--idle', values.idle),
    failedFile: values['given-up'],
    dialTimeout: 1000 * number('--dial-timeout', values['dial-timeout']),
    counters: values.counters === undefined ? undefined : number('--counters', values.counters),
    maxOpen: count('--max-connections', values['max-connections']),
    maxPerSource: maxPerSource === undefined ? undefined : count('--max-per-source', maxPerSource),
    rate: rate === undefined ? undefined : count('--rate', rate),
    idleTimeout: idleTimeout === undefined ? undefined : 1000 * seconds('--idle-timeout', idleTimeout),
    keepAlive: keepalive === undefined ? undefined : seconds('--keepalive', keepalive, MAX_KEEPIDLE),
    udpTimeout: 1000 * number('--udp-timeout', values['udp-timeout']),
    maxSessions: count('--max-sessions', values['max-sessions']),
    proxyProtocol: proxyProtocol === undefined ? undefined : version(proxyProtocol),
    acceptProxyProtocol:
      acceptProxy === undefined ? [] : parseNetworks('--accept-proxy-protocol', acceptProxy),
    balance,
    handOff: parseHandOff(values['hand-off']),
    checkEvery: values.check === undefined ? undefined : 1000 * seconds('--check', values.check),
    workers: values.workers === undefined ? undefined : parseWorkers(values.workers),
    cpuLimits: values['cpu-limit'] ?? [],
  };
}

function parseHandOff(text: string | undefined): Options['handOff'] {
  if (text === undefined || text === 'once' || text === 'retry') return text;
  throw new Error(`--hand-off "${text}" is neither once nor retry`);
}

function parseTarget(text: string): Address {
  return isUnixAddress(text) ? parseUnixAddress('--to', text) : parseAddress(text);
}

function version(text: string): Version {
  if (text === 'v1' || text === 'v2') return text;
  throw new Error(`--proxy-protocol "${text}" is neither v1 nor v2`);
}

function number(option: string, text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new Error(`${option} "${text}" is not a number`);
  return Number(text);
}

function count(option: string, text: string): number {
  return Math.max(1, Math.trunc(number(option, text)));
}

/** Parses a number of seconds. A third of it must fit TCP_KEEPIDLE (at most 32767, tcp(7)). */
function seconds(option: string, text: string, most = 86_400): number {
  const amount = number(option, text);
  if (amount < 1 || amount > most)
    throw new Error(`${option} "${text}" is not between 1 and ${most} seconds`);
  return amount;
}
