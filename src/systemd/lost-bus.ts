import { setTimeout as sleep } from 'node:timers/promises';
import { BusUnreachable } from './bus.js';
import type { LogLine } from './journal-entry.js';

/** The pause before the system bus is tried again, ms; it doubles up to the last. */
const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 30_000;

/**
 * Does work for a service that nothing else starts again: when the system bus is lost, from the beginning, as soon as the bus is back.
 *
 * @param log takes one line for the journal each time that the bus is not there
 * @param meanwhile what does not happen until then, a sentence
 * @throws what `work` throws, except {@link BusUnreachable}
 */
export async function repeatWhenBusIsLost(
  work: () => Promise<void>,
  log: LogLine,
  meanwhile: string,
): Promise<void> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LAST_PAUSE_MS)) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof BusUnreachable)) throw error;
      log(`${error.message}. ${meanwhile} until it is back; it is tried again in ${pause / 1000} s.`, {
        event: 'unreachable',
      });
      await sleep(pause);
    }
  }
}
