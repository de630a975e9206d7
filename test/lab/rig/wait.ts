import { setTimeout as sleep } from 'node:timers/promises';

/** What to wait for and how long. */
export interface WaitOptions {
  /** Seconds until it is a failure. Default 30. */
  timeout?: number;
  /** Named in the message of the failure: “waited 30 s for WHAT”. */
  what: string;
}

/**
 * Calls `condition` every 50 ms until it returns something true, and returns that.
 *
 * A condition that throws is not met yet. Throws when the time is up, with the last error of the condition.
 */
export async function waitFor<T>(condition: () => T | Promise<T>, { timeout = 30, what }: WaitOptions) {
  const deadline = Date.now() + timeout * 1000;
  let reason = '';
  do {
    try {
      const value = await condition();
      if (value) return value;
      reason = '';
    } catch (error) {
      reason = `: ${(error as Error).message}`;
    }
    await sleep(50);
  } while (Date.now() < deadline);
  throw new Error(`waited ${timeout} s for ${what}${reason}`);
}
