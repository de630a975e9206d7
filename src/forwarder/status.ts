import { noteServed, type Relay } from './connection.js';
import type { Counters } from './counters.js';
import type { Notify } from './notify.js';
import { createTimer, start } from './timers.js';

/** How often the service manager is told of changes, ms. */
const EVERY_MS = 1000;

/**
 * Reports the line that `systemctl status` shows: "3 open, 120 served, 1.2 GB". It is computed once a second
 * while connections are open or after the returned `touch` has been called, and sent if it differs. What other threads have counted
 * is in `counters`, and what they have open in `open`.
 */
export function reportStatus(
  relay: Relay,
  notify: Notify,
  { counters, open } = { counters: relay.counters, open: () => relay.open },
): { touch: () => void } {
  let reported = '';
  const report = createTimer(() => {
    for (const connection of relay.connections ?? []) noteServed(connection);
    const line = statusLine(counters);
    if (line === reported && open() === 0) return;
    if (line !== reported) notify(`STATUS=${line}`);
    reported = line;
    start(relay.loop.timers, report, relay.loop.now + EVERY_MS);
  });
  return {
    touch: () => {
      if (report.index < 0)
        start(relay.loop.timers, report, relay.loop.now + (reported === '' ? 0 : EVERY_MS));
    },
  };
}

/** "3 open, 120 served, 1.2 GB", with decimal units, and how many clients have been closed since the target last accepted one. */
function statusLine(counters: Counters): string {
  const { open, served, bytesFromClients, bytesFromTarget, failing } = counters;
  const line = `${open} open, ${served} served, ${size(bytesFromClients + bytesFromTarget)}`;
  return failing === 0 ? line : `${line}; failing, ${failing} client${failing === 1 ? '' : 's'} closed`;
}

function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  let amount = bytes;
  for (; amount >= 999.5 && unit < units.length - 1; unit++) amount /= 1000;
  return `${unit === 0 || amount >= 99.5 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}
