import { setTimeout as sleep } from 'node:timers/promises';
import { SLOWNESS } from './shell.ts';

/** What to wait for and how long. */
export interface WaitOptions {
  /** Seconds until it is a failure, times SLOWNESS. Default 30. */
  timeout?: number;
  /** Named in the message of the failure: “waited 90 s for WHAT”. */
  what: string;
}

/**
 * Calls `condition` until it returns something true, and returns that. It is called 20 times a second at first, and less often the
 * longer it is waited for: what is met after five seconds or later is seen within half a second. At most half of the time goes into
 * calls, lest what is waited for is slowed down by them. The last call is when the time is up.
 *
 * A condition that throws is not met yet. Throws when the time is up, with the last error of the condition.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  { timeout: usual = 30, what }: WaitOptions,
) {
  const timeout = usual * SLOWNESS;
  const start = Date.now();
  const deadline = start + timeout * 1000;
  for (;;) {
    const begin = Date.now();
    let reason = '';
    try {
      const value = await condition();
      if (value) return value;
    } catch (error) {
      reason = `: ${(error as Error).message}`;
    }
    const now = Date.now();
    if (now >= deadline) throw new Error(`waited ${timeout} s for ${what}${reason}`);
    const pause = Math.max(50, Math.min(now - begin, 2000), Math.min((now - start) / 10, 500));
    await sleep(Math.min(pause, deadline - now));
  }
}
