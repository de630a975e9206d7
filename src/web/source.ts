import { hostname } from 'node:os';
import { listAt, listTunnelsAt, showAt } from '../api/client.js';
import { READ_ONLY } from '../api/endpoint.js';
import { cached } from '../system/cached.js';
import { optionWords } from '../units/option-words.js';
import type { History } from './history.js';
import { type Look, type Overview, type ShownDetails, withRates } from './overview.js';

/** The service sees nothing else of wormholed. */
const READ = { endpoint: READ_ONLY, keyFile: '' } as const;

/** What was read within this time is shown again, ms: several windows do not make the work several times. */
const FRESH_MS = 900;

/** How often a page asks, ms: the reading of many links may take this share of the time. */
const INTERVAL_MS = 2_000;
const MOST_SHARE = 1 / 8;

/** How often tunnels are read, ms: that starts ip(8). */
const TUNNELS_MS = 10_000;

/** Where the figures come from. What it throws are the failures of wormholed, one line for people. */
export interface Source {
  overview(): Promise<Overview>;
  details(id: string): Promise<ShownDetails>;
}

/** Reads from wormholed on this machine, and records what has flowed. */
export function createSource(history: History): Source {
  let before: Look | undefined;
  const readTunnels = cached(TUNNELS_MS, tunnelsOrProblem);
  const overview = cached(FRESH_MS, async (): Promise<Overview> => {
    const began = performance.now();
    const [{ links, unreadable }, tunnels] = await Promise.all([listAt(READ), readTunnels()]);
    const took = performance.now() - began;
    const look = { at: Date.now(), links };
    const shown = withRates(before, look);
    before = look;
    history.record(look.at, links);
    const next = Math.round(Math.max(INTERVAL_MS, took / MOST_SHARE));
    return { machine: hostname(), at: look.at, next, links: shown, unreadable, ...tunnels };
  });
  const details = new Map<string, () => Promise<ShownDetails>>();
  return {
    overview,
    details(id) {
      const read = details.get(id) ?? cached(FRESH_MS, () => readDetails(id));
      // Only the latest are shared.
      details.delete(id);
      details.set(id, read);
      const [oldest] = details.keys();
      if (details.size > 32 && oldest !== undefined) details.delete(oldest);
      return read();
    },
  };
}

async function readDetails(id: string): Promise<ShownDetails> {
  const details = await showAt(READ, id);
  return { ...details, optionWords: optionWords(details.link.options ?? {}) };
}

/** Links are shown also when the kernel does not tell of tunnels. */
async function tunnelsOrProblem(): Promise<Pick<Overview, 'tunnels' | 'tunnelProblem'>> {
  try {
    return { tunnels: (await listTunnelsAt(READ)).tunnels };
  } catch (error) {
    return { tunnels: [], tunnelProblem: (error as Error).message };
  }
}
