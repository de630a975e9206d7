import type { Loop } from './loop.js';
import type { Notify } from './notify.js';
import { createTimer, start } from './timers.js';

/** Connections and sessions now and since the start, and the bytes that they have carried. */
export interface Counts {
  readonly open: number;
  readonly served: number;
  readonly bytes: number;
}

/** How often the service manager is told of changes, ms. */
const EVERY_MS = 1000;

/**
 * Reports the line that `systemctl status` shows: "3 open, 120 served, 1.2 GB". It is computed once a second
 * while connections are open or after the returned `touch` has been called, and sent if it differs.
 */
export function reportStatus(loop: Loop, count: () => Counts, notify: Notify): { touch: () => void } {
  let reported = '';
  const report = createTimer(() => {
    const counts = count();
    const line = statusLine(counts);
    if (line === reported && counts.open === 0) return;
    if (line !== reported) notify(`STATUS=${line}`);
    reported = line;
    start(loop.timers, report, loop.now + EVERY_MS);
  });
  return {
    touch: () => {
      if (report.index < 0) start(loop.timers, report, loop.now + (reported === '' ? 0 : EVERY_MS));
    },
  };
}

/** "3 open, 120 served, 1.2 GB", with decimal units. */
function statusLine({ open, served, bytes }: Counts): string {
  return `${open} open, ${served} served, ${size(bytes)}`;
}

function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  let amount = bytes;
  for (; amount >= 999.5 && unit < units.length - 1; unit++) amount /= 1000;
  return `${unit === 0 || amount >= 99.5 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}
