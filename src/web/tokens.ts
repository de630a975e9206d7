import { digestOf, randomSecret } from './secrets.js';

/** How long a token works, ms: somebody may have to carry it to another terminal. */
export const TOKEN_MS = 120_000;

/** The most tokens that wait to be used; a further one replaces the oldest. */
const MOST = 16;

/** Tokens that open the page once. */
export interface Tokens {
  issue(): string;
  /** Uses a token up. Returns whether it was good. */
  redeem(token: string): boolean;
  /** Whether one can still be used. */
  pending(): boolean;
}

/** Keeps tokens in memory: when the process ends, they end. @param now the time in ms */
export function createTokens(now: () => number): Tokens {
  /** When those with a digest expire, the oldest first. */
  const expiry = new Map<string, number>();
  const forget = () => {
    for (const [digest, at] of expiry) if (at <= now()) expiry.delete(digest);
  };
  return {
    issue() {
      forget();
      const [oldest] = expiry.keys();
      if (expiry.size >= MOST && oldest !== undefined) expiry.delete(oldest);
      const token = randomSecret();
      expiry.set(digestOf(token), now() + TOKEN_MS);
      return token;
    },
    redeem(token) {
      forget();
      return expiry.delete(digestOf(token));
    },
    pending() {
      forget();
      return expiry.size > 0;
    },
  };
}
