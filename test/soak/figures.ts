/** What is held after a round, by name. Memory is in kilobytes. */
export type Figures = Record<string, number>;

/** The figures after a round that began at `at`, s since 1970. */
export interface Sample {
  at: number;
  figures: Figures;
}

/** Rounds at the beginning that do not count: caches and pools fill, and code is compiled. */
const WARM_UP = 5;

/** By how much a figure may differ between the beginning and the end without having grown: a part of memory, or so many of others. */
const [TOLERATED_PART, TOLERATED_NUMBER] = [0.1, 3];

/** What has grown from the first third of the rounds to the last, a line each. */
export function grown(samples: Sample[]): string[] {
  const counted = samples.slice(WARM_UP);
  const third = Math.floor(counted.length / 3);
  if (third === 0) return [`${samples.length} rounds are too few to compare: ${WARM_UP + 3} are needed`];
  const names = Object.keys(counted[0]?.figures ?? {});
  return names.flatMap((name) => {
    const figures = counted.map((sample) => sample.figures[name] ?? Number.NaN);
    const [before, after] = [median(figures.slice(0, third)), median(figures.slice(-third))];
    const tolerated = /kilobytes/i.test(name) ? TOLERATED_PART * before : TOLERATED_NUMBER;
    return after <= before + tolerated ? [] : [`${name} has grown from ${before} to ${after}`];
  });
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
