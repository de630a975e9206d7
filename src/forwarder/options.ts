import { parseArgs } from 'node:util';
import { type Address, parseAddress } from './address.js';
import { createGuard, type Guard } from './allow.js';
import { type Device, parseDevice } from './device.js';
import { parseUnixAddress, type UnixAddress } from './unix.js';

/** What the command line says. */
export interface Options {
  /** The link's id, for people. */
  readonly link: string;
  /** The target, unless `toFile` says where it is. */
  readonly to: Address | undefined;
  /** A file with the address of a target on another machine, or the reason why there is none (see guide.ts). */
  readonly toFile: string | undefined;
  /** Whom to ask for that target when it cannot be reached. */
  readonly ask: UnixAddress | undefined;
  /** Whose clients are served; default: everybody's. */
  readonly allow: Guard | undefined;
  /** The network interface through which clients are served, and no other; default: any. */
  readonly device: Device | undefined;
  /**
   * How long another machine may be silent, ms: that of the target with `toFile`, that of the clients with `allow`.
   * Default: as long as the kernel waits.
   */
  readonly peerTimeout: number | undefined;
  /** Where the target is, in words: "container mysql". */
  readonly place: string | undefined;
  /** Exit after so long without a connection, ms; 0 is never. Default 60 s. */
  readonly idle: number;
  /** How long a target may refuse, ms. Default 5 s. */
  readonly dialTimeout: number;
  /** A file that, while it is there, says that the target could not be started. */
  readonly givenUp: string | undefined;
  /** Most connections at a time. Default: as many as the file descriptors suffice for, which is never exceeded. */
  readonly maxOpen: number;
}

/** One line that tells how to call the program. */
export const USAGE =
  'usage: --link ID (--to ADDRESS:PORT | --to-file FILE [--ask SOCKET]) [--allow ADDRESS] [--interface NAME] [--peer-timeout SECONDS] [--place WORDS] [--idle SECONDS] [--dial-timeout SECONDS] [--given-up FILE] [--max-open N]';

/** Reads the command line (without node and the script). Throws an Error that quotes what is wrong. */
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
    },
  });
  if (values.link === undefined || values.link === '') throw new Error('--link is missing');
  const { to, 'to-file': toFile, ask, allow, 'peer-timeout': peerTimeout, 'max-open': maxOpen } = values;
  if (to === undefined && toFile === undefined) throw new Error('--to is missing, and --to-file too');
  if (to !== undefined && toFile !== undefined) {
    throw new Error(`--to "${to}" and --to-file "${toFile}" exclude each other`);
  }
  if (ask !== undefined && toFile === undefined) throw new Error(`--ask "${ask}" needs --to-file`);
  return {
    link: values.link,
    to: to === undefined ? undefined : parseAddress(to),
    toFile,
    ask: ask === undefined ? undefined : parseUnixAddress('--ask', ask),
    allow: allow === undefined ? undefined : createGuard(allow),
    device: values.interface === undefined ? undefined : parseDevice(values.interface),
    peerTimeout: peerTimeout === undefined ? undefined : 1000 * seconds('--peer-timeout', peerTimeout),
    place: values.place,
    idle: 1000 * number('--idle', values.idle),
    givenUp: values['given-up'],
    dialTimeout: 1000 * number('--dial-timeout', values['dial-timeout']),
    maxOpen:
      maxOpen === undefined
        ? Number.POSITIVE_INFINITY
        : Math.max(1, Math.trunc(number('--max-open', maxOpen))),
  };
}

function number(option: string, text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new Error(`${option} "${text}" is not a number`);
  return Number(text);
}

/** A number of seconds that the kernel takes as TCP_KEEPIDLE (at most 32767, tcp(7)) when it is divided by three. */
function seconds(option: string, text: string): number {
  const amount = number(option, text);
  if (amount < 1 || amount > 86_400)
    throw new Error(`${option} "${text}" is not between 1 and 86400 seconds`);
  return amount;
}
