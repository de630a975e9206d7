import type { Connection, Relay } from './connection.js';
import type { Resolution } from './resolver.js';

/*
 * A link to another machine connects to a forwarder there, which accepts every client and resets those that it cannot serve. So a
 * reset before the first byte is put down to the target only after that machine has said that its part is failing.
 */

/** The target has reset a connection before its first byte. The resolver is asked why, and whether it has moved. */
export function handleRejection({ relay }: Connection): void {
  relay.rejections += 1;
  relay.rejectedAt = relay.loop.now;
  relay.resolver?.refresh();
}

/** Counts the rejected clients as not served, and logs why, if the other machine says that its part is failing. */
export function explainRejections(relay: Relay, { failing }: Resolution): void {
  const { counters, location = 'the far side', log, rejections } = relay;
  relay.rejections = 0;
  if (failing === undefined) {
    // What was rejected met a target that resets, or an address of old.
    if (rejections > 0) {
      counters.failing = 0;
      relay.onRejection?.('');
    }
    return;
  }
  const message = `${location} says: ${failing}`;
  for (let count = 0; count < rejections; count++) {
    counters.served -= 1;
    counters.fail(message);
  }
  if (rejections === 0) return;
  relay.onRejection?.(message);
  log.failure(
    'unreachable far',
    `${message}; its forwarder has reset ${rejections === 1 ? 'the client' : `${rejections} clients`}; the next connection tries again`,
    (count) => `${message}; it has reset ${count} more time${count === 1 ? '' : 's'} in the last 10 s`,
  );
}
