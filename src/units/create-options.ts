import { formatDuration, readDuration } from '../recipe/duration.js';
import { isNetwork } from '../text/network.js';
import {
  BALANCES,
  type Balance,
  type CreateOptions,
  MAX_COUNT,
  MAX_IDLE_TIMEOUT,
  MAX_KEEPALIVE,
  MAX_WORKERS,
  type Workers,
} from './plan.js';

/*
 * The values of the options of `wormhole create`, which files have too. Each function throws an Error that says what is expected.
 */

/** A span of time, in seconds. */
export function readSpan(text: string): number {
  const seconds = readDuration(text);
  if (seconds === undefined) throw new Error('expected a span of time, such as 30s, 5m or 1h');
  return seconds;
}

/** How long no byte may move on a session, in seconds. */
export function readIdleTimeout(text: string): number {
  return spanUpTo(MAX_IDLE_TIMEOUT, text);
}

/** How long a peer may be silent before the kernel probes it, in seconds. */
export function readKeepAlive(text: string): number {
  return spanUpTo(MAX_KEEPALIVE, text);
}

function spanUpTo(most: number, text: string): number {
  const seconds = readSpan(text);
  if (seconds > most) throw new Error(`expected a span of time from 1s to ${formatDuration(most)}`);
  return seconds;
}

/** A limit on the number of clients. */
export function readCount(text: string): number {
  const count = Number(text);
  if (/^\d+$/.test(text) && count >= 1 && count <= MAX_COUNT) return count;
  throw new Error(`expected a number from 1 to ${MAX_COUNT}`);
}

/** How many threads relay. */
export function readWorkers(text: string): Workers {
  const count = Number(text);
  if (text === 'auto') return text;
  if (/^\d+$/.test(text) && count >= 1 && count <= MAX_WORKERS) return count;
  throw new Error(`expected auto or a number from 1 to ${MAX_WORKERS}`);
}

/** The version of the PROXY header for the target. */
export function readProxyVersion(text: string): 'v1' | 'v2' {
  if (text === 'v1' || text === 'v2') return text;
  throw new Error('expected v1 or v2');
}

/** The networks of proxies whose connections begin with a PROXY header. */
export function readNetworks(text: string): string[] {
  const networks = text.split(',');
  if (networks.every(isNetwork)) return networks;
  throw new Error('expected networks of proxies, such as 10.0.0.0/8,fd00::/8');
}

/** Who may use a head with a path, in octal digits. */
export function readMode(text: string): string {
  if (/^0?[0-7]{3}$/.test(text)) return text;
  throw new Error('expected three octal digits, such as 660');
}

/** Whom a head with a path belongs to. */
export function readOwner(text: string): string {
  if (/^(?=.)([A-Za-z0-9_][A-Za-z0-9_.-]*)?(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/.test(text)) return text;
  throw new Error('expected USER, USER:GROUP or :GROUP, such as :docker');
}

/** A group of the forwarder. */
export function readGroup(text: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(text)) return text;
  throw new Error('expected a group, such as docker');
}

/** When images are fetched. */
export function readPull(text: string): CreateOptions['pull'] {
  const found = (['never', 'missing', 'always'] as const).find((policy) => policy === text);
  if (found === undefined) throw new Error('expected never, missing or always');
  return found;
}

/** Which of several tails a client gets. */
export function readBalance(text: string): Balance {
  const found = BALANCES.find((balance) => balance === text);
  if (found === undefined) throw new Error(`expected ${BALANCES.join(', ')}`.replace(/, (?=[^,]*$)/, ' or '));
  return found;
}
