/** Limits how many clients are accepted in a second: a token bucket that holds as many as one second brings. */
export interface Rate {
  readonly perSecond: number;
  tokens: number;
  /** When `tokens` was computed, ms, on the clock of the loop. */
  at: number;
}

/** Clients that arrive faster are accepted in groups, each of as many as this time brings, ms. Otherwise each would cost a timer. */
const GROUP_MS = 20;

/** Creates a limit of `perSecond` clients. The first second's are accepted at once. */
export function createRate(perSecond: number, now: number): Rate {
  return { perSecond, tokens: perSecond, at: now };
}

/** How long the next client has to wait, ms; 0 if not at all. */
export function waitFor(rate: Rate, now: number): number {
  const { perSecond, at } = rate;
  rate.tokens = Math.min(perSecond, rate.tokens + ((now - at) * perSecond) / 1000);
  rate.at = now;
  if (rate.tokens >= 1) return 0;
  return Math.max(GROUP_MS, Math.ceil(((1 - rate.tokens) * 1000) / perSecond));
}

/** Counts a client that is accepted. */
export function spend(rate: Rate): void {
  rate.tokens -= 1;
}
