import { setTimeout as sleep } from 'node:timers/promises';

/** What to wait for and how long. */
export interface WaitOptions {
  /** Seconds until it is a failure. Default 30. */
  timeout?: number;
  /** Named in the message of the failure: “waited 30 s for WHAT”. */
  what: string;
}

/**
 * Calls `condition` until it returns something true, and returns that. It is called 20 times a second, or less often when
 * it takes long itself: at most half of the time, lest what is waited for is slowed down by that.
 *
 * A condition that throws is not met yet. Throws when the time is up, with the last error of the condition.
 */
export async function waitFor<T>(condition: () => T | Promise<T>, { timeout = 30, what }: WaitOptions) {
  const deadline = Date.now() + timeout * 1000;
  let reason = '';
  do {
    const begin = Date.now();
    try {
      const value = await condition();
      if (value) return value;
      reason = '';
    } catch (error) {
      reason = `: ${(error as Error).message}`;
    }
    await sleep(Math.min(Math.max(50, Date.now() - begin), 2000));
  } while (Date.now() < deadline);
  throw new Error(`waited ${timeout} s for ${what}${reason}`);
}
