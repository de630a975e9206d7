import { type Word, wrongWord } from './error.js';

const UNITS = { h: 3600, m: 60, s: 1 };

/**
 * Reads a span of time such as `30s`, `5m`, `1h30m`, or `90` for seconds, the way systemd.time(7) writes them.
 *
 * @returns whole seconds, from 1 to a year's; undefined for anything else
 */
export function readDuration(text: string): number | undefined {
  const found = /^(?:(\d{1,9})h)?(?:(\d{1,9})m(?:in)?)?(?:(\d{1,9})s?)?$/.exec(text);
  const [hours = 0, minutes = 0, seconds = 0] = (found ?? []).slice(1).map((part) => Number(part ?? 0));
  const total = hours * UNITS.h + minutes * UNITS.m + seconds;
  return found && total >= 1 && total <= 365 * 24 * UNITS.h ? total : undefined;
}

/** As {@link readDuration}, for a word of a recipe. @throws RecipeError for what is no span of time */
export function parseDuration(word: Word): number {
  const seconds = readDuration(word.text);
  if (seconds === undefined)
    throw wrongWord(word, 'not a span of time from a second to a year, such as 30s, 5m or 1h');
  return seconds;
}

/** A span of whole seconds as {@link parseDuration} reads it: `30s`, `5m`, `1h30m`. */
export function formatDuration(seconds: number): string {
  const parts = {
    h: Math.floor(seconds / UNITS.h),
    m: Math.floor((seconds % UNITS.h) / UNITS.m),
    s: seconds % UNITS.m,
  };
  return Object.entries(parts)
    .filter(([, count]) => count > 0)
    .map(([unit, count]) => `${count}${unit}`)
    .join('');
}
