/**
 * The seeds of the random scripts that a test plays: `each` that are always the same, and as many others.
 *
 *   WORMHOLE_FIDELITY=SEED        plays the script of this seed only
 *   WORMHOLE_FIDELITY=SEED:COUNT  plays the scripts of the seeds SEED, SEED + 1, …
 */
export function chooseSeeds(each: number): number[] {
  const { WORMHOLE_FIDELITY: chosen } = process.env;
  if (chosen === undefined || chosen === '')
    return [...range(1, each), ...range(Date.now() % 1_000_000_000, each)];
  const [first = 0, count = 1] = chosen.split(':').map(Number);
  return range(first, count);
}

function range(from: number, length: number): number[] {
  return Array.from({ length }, (_, i) => from + i);
}
