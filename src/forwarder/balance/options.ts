import { parseUnixAddress } from '../unix/address.js';
import type { Policy } from './pick.js';
import type { TailOption } from './tail.js';

/** What the command line says about tails that clients are handed over to. */
export interface BalanceOptions {
  readonly policy: Policy;
  /** Never empty. */
  readonly tails: readonly TailOption[];
  readonly drained: readonly string[];
  readonly drainedFile: string | undefined;
  readonly unhealthyFile: string | undefined;
}

/** The options of the command line about it, for parseArgs of node:util. */
export const BALANCE_OPTIONS = {
  balance: { type: 'string', default: 'least' },
  tail: { type: 'string', multiple: true },
  drained: { type: 'string', multiple: true },
  'drained-file': { type: 'string' },
  'unhealthy-file': { type: 'string' },
} as const;

/** The values of {@link BALANCE_OPTIONS}. */
export interface BalanceValues {
  balance: string;
  tail?: string[];
  drained?: string[];
  'drained-file'?: string;
  'unhealthy-file'?: string;
}

/** Parses them; undefined if the link has one target. Throws an Error that quotes what is wrong. */
export function parseBalance(values: BalanceValues): BalanceOptions | undefined {
  const {
    balance,
    tail,
    drained = [],
    'drained-file': drainedFile,
    'unhealthy-file': unhealthyFile,
  } = values;
  if (tail === undefined) return undefined;
  return { policy: parsePolicy(balance), tails: tail.map(parseTail), drained, drainedFile, unhealthyFile };
}

function parsePolicy(text: string): Policy {
  if (text === 'least' || text === 'round-robin' || text === 'first' || text === 'source') return text;
  throw new Error(`--balance "${text}" is none of least, round-robin, first, source`);
}

/** Parses "NAME SOCKET WEIGHT SECONDS", which " on-demand" may follow. */
function parseTail(text: string): TailOption {
  const [, name, socket, weight, seconds, onDemand] =
    /^(\S+) (\S+) (\d+) (\d+)( on-demand)?$/.exec(text) ?? [];
  if (name === undefined || socket === undefined || Number(weight) < 1)
    throw new Error(`--tail "${text}" is not NAME SOCKET WEIGHT SECONDS [on-demand]`);
  return {
    name,
    address: parseUnixAddress('--tail', socket),
    weight: Number(weight),
    timeout: 1000 * Number(seconds),
    isOnDemand: onDemand !== undefined,
  };
}
