import type { LogLine } from '../systemd/journal-entry.js';

/** How long refusals are only counted after one has been told, ms. */
const QUIET_MS = 10_000;

/** So many addresses are told in one line; a flood may come from any number. */
const MAX_TOLD = 8;

/** Tells the journal of callers that were refused. */
export interface Refusals {
  /** One caller was refused; `reason` completes "ADDRESS …", such as "has another key". */
  note(address: string, reason: string): void;
  /** Tells now what was only counted so far: before the process ends. */
  flush(): void;
}

/**
 * Refusals are told so that a flood of them is a line every 10 s: the first at once, those that follow counted, with the
 * addresses they came from.
 */
export function createRefusals(warn: LogLine): Refusals {
  let quiet: NodeJS.Timeout | undefined;
  let counts = new Map<string, number>();
  let sum = 0;

  const flush = () => {
    if (sum === 0) return;
    const told = [...counts].map(([address, count]) => `${address} (${count})`);
    if (counts.size === MAX_TOLD) told.push('…');
    warn(`refused ${sum} more in ${QUIET_MS / 1000} s: ${told.join(', ')}`, { event: 'refused' });
    counts = new Map();
    sum = 0;
  };
  const wait = () => {
    quiet = setTimeout(() => {
      quiet = undefined;
      if (sum === 0) return;
      flush();
      wait();
    }, QUIET_MS).unref();
  };

  return {
    note(address, reason) {
      if (quiet === undefined) {
        warn(`refused ${address}, which ${reason}`, { event: 'refused', peer: address });
        wait();
        return;
      }
      sum++;
      const known = counts.get(address);
      if (known !== undefined || counts.size < MAX_TOLD) counts.set(address, (known ?? 0) + 1);
    },
    flush,
  };
}
