import type { Address } from '../address.js';
import type { Counters } from '../counters.js';
import type { Log } from '../log.js';
import type { Loop } from '../loop.js';
import type { Resolver } from '../resolver.js';
import { E, errorWords } from '../syscalls.js';

/** The first and the longest pause between two attempts to reach the target, ms. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 250;

/** What relays of messages are created with. */
export interface MessageOptions {
  readonly loop: Loop;
  readonly log: Log;
  readonly counters: Counters;
  /** The target, a unix socket, and its name in log messages. */
  readonly to: Address;
  readonly target: string;
  /** How long the target may refuse, ms. */
  readonly dialTimeout: number;
  /** Whether starting the target has failed, and the unit that starts it. */
  readonly targetFailed: () => boolean;
  readonly starter: string | undefined;
  /** Has the target started again when it refuses; undefined if nothing starts it. */
  readonly restarter: Resolver | undefined;
  /** Called when a session begins and when one ends. */
  readonly onOpen: () => void;
  readonly onClose: () => void;
}

/** The pause after one of `pause` ms; 0 is that before the first attempt. */
export function nextPause(pause: number): number {
  return Math.min(LAST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * pause));
}

/** Why the target was not reached, for people. */
export function describeUnreached(options: MessageOptions, failure: number): string {
  const { target, starter, dialTimeout, targetFailed } = options;
  if (targetFailed()) return `${target} could not be started: see journalctl -u ${starter}`;
  const words = `for ${dialTimeout / 1000} s (${errorWords(failure)})`;
  if (failure === E.ENOENT) return `${target} did not exist ${words}`;
  if (failure === E.ECONNREFUSED) return `${target} refused ${words}`;
  if (failure === E.EPROTOTYPE) return `${target} was a socket of another type ${words}`;
  if (failure === E.EACCES)
    return `${target} may not be used by the forwarder, which runs as nobody, ${words}`;
  return `${target} could not be reached ${words}`;
}
