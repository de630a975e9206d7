import type { Relay } from './connection.js';
import type { Notify } from './notify.js';
import { start, timer } from './timers.js';

/** How often the service manager hears of changes, ms. */
const EVERY_MS = 1000;

/**
 * Keeps the line that `systemctl status` shows: "3 open, 120 served, 1.2 GB". It is looked at once a second while
 * connections are open or the line has just changed, and sent when it differs.
 */
export function keepStatus(relay: Relay, notify: Notify): { touch: () => void } {
  let told = '';
  const look = timer(() => {
    const line = statusLine(relay);
    if (line === told && relay.open === 0) return;
    if (line !== told) notify(`STATUS=${line}`);
    told = line;
    start(relay.loop.timers, look, relay.loop.now + EVERY_MS);
  });
  return {
    touch: () => {
      if (look.place < 0) start(relay.loop.timers, look, relay.loop.now + (told === '' ? 0 : EVERY_MS));
    },
  };
}

/** "3 open, 120 served, 1.2 GB", with decimal units. */
function statusLine(relay: Pick<Relay, 'open' | 'served' | 'bytes'>): string {
  return `${relay.open} open, ${relay.served} served, ${size(relay.bytes)}`;
}

function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  let amount = bytes;
  for (; amount >= 999.5 && unit < units.length - 1; unit++) amount /= 1000;
  return `${unit === 0 || amount >= 99.5 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}
