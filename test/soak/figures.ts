/** What is held after a round, by name. Memory is in kilobytes. */
export type Figures = Record<string, number>;

/** The figures after a round that began at `at`, s since 1970. */
export interface Sample {
  at: number;
  figures: Figures;
}

/** By how much a figure may differ between the two thirds without having grown: a part of memory, or so many of others. */
const [TOLERATED_PART, TOLERATED_NUMBER] = [0.1, 3];

/** The fewest rounds in a third. */
const FEWEST = 3;

/**
 * What has grown from the second third of the rounds to the last, a line each. In the first third caches and pools fill, and V8 takes
 * the heap that it will keep. A leak goes on: one that adds two fifths over the run adds more than a tenth from one third to
 * the next.
 */
export function grown(samples: Sample[]): string[] {
  const third = Math.floor(samples.length / 3);
  if (third < FEWEST) return [`${samples.length} rounds are too few to compare: ${3 * FEWEST} are needed`];
  const names = Object.keys(samples[0]?.figures ?? {});
  return names.flatMap((name) => {
    const figures = samples.map((sample) => sample.figures[name] ?? Number.NaN);
    const [before, after] = [median(figures.slice(third, 2 * third)), median(figures.slice(-third))];
    const tolerated = /kilobytes/i.test(name) ? TOLERATED_PART * before : TOLERATED_NUMBER;
    return after <= before + tolerated ? [] : [`${name} has grown from ${before} to ${after}`];
  });
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
