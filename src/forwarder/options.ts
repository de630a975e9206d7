import { parseArgs } from 'node:util';
import { type AccessRule, createAccessRule } from './access.js';
import { type Address, parseAddress } from './address.js';
import { type Device, parseDevice } from './device.js';
import { isUnixAddress, parseUnixAddress } from './unix/address.js';

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
   * The most connections at a time. Default, and upper limit: as many as the file descriptors suffice for.
   */
  readonly maxOpen: number;
  /** A session of datagrams ends after this long without one, ms. Default 60 s. */
  readonly udpTimeout: number;
  /** The most sessions of datagrams at a time. Default 4096, at most as many as the file descriptors suffice for. */
  readonly maxSessions: number;
  /** The descriptor of the file with the figures of the link; undefined: they are lost when the process ends. */
  readonly counters: number | undefined;
}

/** The usage message, on one line. */
export const USAGE =
  'usage: --link ID (--to ADDRESS:PORT|PATH|@NAME | --to-file FILE [--ask SOCKET]) [--allow ADDRESS] [--interface NAME] [--peer-timeout SECONDS] [--place WORDS] [--idle SECONDS] [--dial-timeout SECONDS] [--given-up FILE] [--max-open N] [--udp-timeout SECONDS] [--max-sessions N] [--counters FD] [--name NAME:PORT]';

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
      'max-open': { type: 'string' },
      'udp-timeout': { type: 'string', default: '60' },
      'max-sessions': { type: 'string', default: '4096' },
      counters: { type: 'string' },
      name: { type: 'string' },
    },
  });
  if (values.link === undefined || values.link === '') throw new Error('--link is missing');
  const { to, 'to-file': toFile, ask, allow, 'peer-timeout': peerTimeout, 'max-open': maxOpen } = values;
  if (to === undefined && toFile === undefined) throw new Error('--to is missing, and --to-file too');
  if (to !== undefined && toFile !== undefined) {
    throw new Error(`--to "${to}" and --to-file "${toFile}" exclude each other`);
  }
  if (ask !== undefined && toFile === undefined) throw new Error(`--ask "${ask}" needs --to-file`);
  if (values.name !== undefined && toFile === undefined)
    throw new Error(`--name "${values.name}" needs --to-file`);
  return {
    link: values.link,
    to: to === undefined ? undefined : parseTarget(to),
    toFile,
    name: values.name,
    ask: ask === undefined ? undefined : parseUnixAddress('--ask', ask),
    allow: allow === undefined ? undefined : createAccessRule(allow),
    device: values.interface === undefined ? undefined : parseDevice(values.interface),
    peerTimeout: peerTimeout === undefined ? undefined : 1000 * seconds('--peer-timeout', peerTimeout),
    location: values.place,
    idle: 1000 * number('--idle', values.idle),
    failedFile: values['given-up'],
    dialTimeout: 1000 * number('--dial-timeout', values['dial-timeout']),
    counters: values.counters === undefined ? undefined : number('--counters', values.counters),
    maxOpen:
      maxOpen === undefined
        ? Number.POSITIVE_INFINITY
        : Math.max(1, Math.trunc(number('--max-open', maxOpen))),
    udpTimeout: 1000 * number('--udp-timeout', values['udp-timeout']),
    maxSessions: Math.max(1, Math.trunc(number('--max-sessions', values['max-sessions']))),
  };
}

function parseTarget(text: string): Address {
  return isUnixAddress(text) ? parseUnixAddress('--to', text) : parseAddress(text);
}

function number(option: string, text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new Error(`${option} "${text}" is not a number`);
  return Number(text);
}

/** Parses a number of seconds. A third of it must fit TCP_KEEPIDLE (at most 32767, tcp(7)). */
function seconds(option: string, text: string): number {
  const amount = number(option, text);
  if (amount < 1 || amount > 86_400)
    throw new Error(`${option} "${text}" is not between 1 and 86400 seconds`);
  return amount;
}
