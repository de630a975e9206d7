import type { KernelAssociation } from './parse.js';

/** Keys are renewed at this age, ms: in time for once an hour, and not all tunnels of a machine at the same time. */
const KEY_AGE_MS = 50 * 60_000;
const JITTER_MS = 8 * 60_000;

/** An end that nobody asked for leaves it to the other one, for so much longer, ms. */
const OTHERS_TURN_MS = 20 * 60_000;

/** The clock has been set back if keys are from this far in the future, ms. */
const CLOCK_ERROR_MS = 60_000;

/** Keys are renewed after so many packets, of the 2^64 that ESN would allow. */
const MAX_PACKETS = 2 ** 31;

/** The security associations of a tunnel, each direction's newest first, and what decides when its keys are old. */
export interface Keys {
  in: Pick<KernelAssociation, 'added' | 'packets'>[];
  out: Pick<KernelAssociation, 'added' | 'packets'>[];
  number: number;
  asked: boolean;
}

/**
 * Whether the keys of a tunnel are to be renewed: after 50 to 58 minutes, by the tunnel's number, or 20 minutes later where
 * nobody asked for the tunnel; after 2^31 packets either way; when there are none; or when they are from the future, since the clock has
 * been set back: they would not be old for as long as that.
 *
 * @param now ms since the epoch
 */
export function isDue({ in: incoming, out, number, asked }: Keys, now: number): boolean {
  const [newest] = incoming;
  if (!newest) return true;
  if ([...incoming, ...out].some(({ packets }) => packets > MAX_PACKETS)) return true;
  if (newest.added > now + CLOCK_ERROR_MS) return true;
  const jitter = (number % 1000) / 1000;
  return now - newest.added > KEY_AGE_MS + JITTER_MS * jitter + (asked ? 0 : OTHERS_TURN_MS);
}
