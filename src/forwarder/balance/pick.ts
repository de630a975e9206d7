/**
 * How the tail of a client is chosen: the one with the fewest sessions, each in turn, the first that works, or by the address of
 * the client.
 */
export type Policy = 'least' | 'round-robin' | 'first' | 'source';

/** What the choice of a tail depends on. */
export interface Candidate {
  /** Identifies it. */
  readonly name: string;
  /** Its share compared with others, at least 1. */
  readonly weight: number;
  /** Its sessions, with the clients that have been offered to it. */
  readonly load: number;
  /** Whether a client would have to wait until it is started. */
  readonly isAsleep: boolean;
  /** When it was picked the last time; a number that grows, or 0. */
  pickedAt: number;
  /** For `round-robin`: how much of its share it has to get. */
  credit: number;
}

/**
 * Chooses one of `candidates`, which are in the order of the recipe; undefined if there is none.
 *
 * `least` takes the one with the fewest sessions for its weight; among equals, one that need not be started first, then that
 * which was picked longest ago. `round-robin` spreads the picks of each evenly, as nginx does. `source` keeps a client at its
 * tail, and moves only the clients of a tail that goes or comes (rendezvous hashing).
 */
export function pick<C extends Candidate>(
  policy: Policy,
  candidates: readonly C[],
  source: string,
): C | undefined {
  const [first, ...others] = candidates;
  if (first === undefined) return undefined;
  if (policy === 'first') return first;
  if (policy === 'source')
    return others.reduce((best, one) => (score(one, source) > score(best, source) ? one : best), first);
  if (policy === 'round-robin') return nextInTurn(candidates, first);
  return others.reduce((best, one) => (isBetter(one, best) ? one : best), first);
}

function isBetter(one: Candidate, other: Candidate): boolean {
  const difference = one.load / one.weight - other.load / other.weight;
  if (difference !== 0) return difference < 0;
  if (one.isAsleep !== other.isAsleep) return other.isAsleep;
  return one.pickedAt < other.pickedAt;
}

/** Smooth weighted round-robin: of the weights 2 and 1, a b a, a b a, and not a a b. */
function nextInTurn<C extends Candidate>(candidates: readonly C[], first: C): C {
  let total = 0;
  let next = first;
  for (const candidate of candidates) {
    total += candidate.weight;
    candidate.credit += candidate.weight;
    if (candidate.credit > next.credit) next = candidate;
  }
  next.credit -= total;
  return next;
}

/** The weighted score of a tail for a client, above 0: each tail has the highest one for its share of clients. */
function score({ name, weight }: Candidate, source: string): number {
  return -weight / Math.log((hash(`${name} ${source}`) + 1) / (2 ** 32 + 1));
}

/**
 * A number below 2^32 for a text: FNV-1a, and the last step of MurmurHash3, which spreads similar texts. node:crypto
 * is slow to load, and nobody gains by choosing a tail.
 */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
