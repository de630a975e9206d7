import type { ListedLink } from '../api/listing-schema.js';
import type { MachineListing } from './listings.js';

/** What was read at one moment; `at` in ms on a clock that only goes forward. */
export interface Sample {
  at: number;
  listings: MachineListing[];
}

/** A link over an interval. Rates are per second. */
export interface LinkRates {
  machine: string;
  id: string;
  state: ListedLink['state'];
  /** Open sessions at the end of the interval. */
  open: number;
  newPerSecond: number;
  /** From clients, and from the target. */
  bytesInPerSecond: number;
  bytesOutPerSecond: number;
  /** Clients that were not served: the target was not reached, the link is not for them, or a limit refused them. */
  errorsPerSecond: number;
  errors: number;
  /** How long connecting to the target took on average, ms; undefined if no session began in the interval. */
  dialMs?: number;
  /** When its forwarder ends if no client comes before, ms; undefined while it has a session, or does not run. */
  idleInMs?: number;
}

/** The links of the later of two samples, with what they have counted since the earlier one. */
export function ratesBetween(before: Sample, after: Sample): LinkRates[] {
  const seconds = Math.max(after.at - before.at, 1) / 1000;
  const known = new Map<string, ListedLink>();
  for (const { machine, listing } of before.listings)
    for (const link of listing.links) known.set(keyOf(machine, link.id), link);
  return after.listings.flatMap(({ machine, listing }) =>
    listing.links
      .filter(({ state }) => state !== 'deleted')
      .map((link) => ratesOf(machine, { link, former: known.get(keyOf(machine, link.id)), seconds })),
  );
}

interface Span {
  link: ListedLink;
  former: ListedLink | undefined;
  seconds: number;
}

function ratesOf(machine: string, { link, former, seconds }: Span): LinkRates {
  const now = figuresOf(link);
  const then = figuresOf(former);
  // Figures go backwards when a link was deleted and created again: those of the new one begin with 0. They all do then, so that
  // one which has overtaken the old figure is not counted from that.
  const isRecreated = Object.keys(now).some((name) => now[name as Figure] < then[name as Figure]);
  // A link that was not there before: what it has counted was not counted in this interval as far as is known.
  const base = former === undefined ? now : isRecreated ? figuresOf(undefined) : then;
  const since = (name: Figure): number => now[name] - base[name];
  const dials = since('dials');
  return {
    machine,
    id: link.id,
    state: link.state,
    open: link.counters?.open ?? 0,
    newPerSecond: since('served') / seconds,
    bytesInPerSecond: since('bytesIn') / seconds,
    bytesOutPerSecond: since('bytesOut') / seconds,
    errorsPerSecond: since('errors') / seconds,
    errors: now.errors,
    ...(dials > 0 && { dialMs: since('dialMs') / dials }),
    ...(link.counters?.idleInMs !== undefined && { idleInMs: link.counters.idleInMs }),
  };
}

type Figure = 'served' | 'bytesIn' | 'bytesOut' | 'errors' | 'dials' | 'dialMs';

function figuresOf(link: ListedLink | undefined): Record<Figure, number> {
  const counters = link?.counters;
  return {
    served: counters?.served ?? 0,
    bytesIn: counters?.bytesFromClients ?? 0,
    bytesOut: counters?.bytesFromTarget ?? 0,
    errors: (counters?.unserved ?? 0) + (counters?.denied ?? 0) + (counters?.refused ?? 0),
    dials: (counters?.dials ?? []).reduce((sum, { count }) => sum + count, 0),
    dialMs: counters?.dialMs ?? 0,
  };
}

function keyOf(machine: string, id: string): string {
  return JSON.stringify([machine, id]);
}
