import * as v from 'valibot';
import type { ListedLink } from '../api/listing-schema.js';

/** How far back it goes, ms. */
export const HISTORY_MS = 3_600_000;

/** The least time between two samples, ms. */
const SAMPLE_MS = 10_000;

const sample = v.tuple([v.number(), v.number(), v.number(), v.number()]);
const saved = v.record(v.string(), v.array(sample));

/** The time in ms since 1970, bytes from clients and from targets since the link exists, and open sessions. */
export type Sample = v.InferOutput<typeof sample>;

/** The bytes per second of a time that ends at `to`, ms since 1970, and the sessions that were open then. */
export interface Rate {
  from: number;
  to: number;
  fromClients: number;
  fromTargets: number;
  open: number;
}

/** What has flowed through links in the last hour. */
export interface History {
  /** Adds a sample, unless the last one is younger than ten seconds. */
  record(now: number, links: ListedLink[]): void;
  /** The rates of a link, the oldest first; none if it is unknown. */
  ratesOf(id: string, now: number): Rate[];
  /** Those of all links together. */
  totals(now: number): Rate[];
  /** As text, for {@link readHistory}. */
  save(): string;
}

/**
 * Keeps samples of the counters of links. These count on while nobody looks, so that the time between two samples that are far apart
 * has its true average.
 *
 * @param text what `save` has returned; anything else is an empty history
 */
export function readHistory(text = '{}'): History {
  const samples = new Map<string, Sample[]>(Object.entries(parse(text)));
  const last = Math.max(0, ...[...samples.values()].map((own) => own.at(-1)?.[0] ?? 0));
  let latest = last;
  return {
    record(now, links) {
      if (now - latest < SAMPLE_MS) return;
      latest = now;
      for (const { id, counters } of links) {
        const own = samples.get(id) ?? [];
        samples.set(id, own);
        const { bytesFromClients = 0, bytesFromTarget = 0, open = 0 } = counters ?? {};
        add(own, [now, bytesFromClients, bytesFromTarget, open]);
        // One that is older is where the first rate of the hour begins.
        while ((own[1]?.[0] ?? now) < now - HISTORY_MS) own.shift();
      }
      for (const [id, own] of samples) if ((own.at(-1)?.[0] ?? 0) < now - HISTORY_MS) samples.delete(id);
    },
    ratesOf: (id, now) => rates(samples.get(id) ?? [], now),
    totals: (now) => sumUp([...samples.values()].map((own) => rates(own, now))),
    save: () => JSON.stringify(Object.fromEntries(samples)),
  };
}

/** Adds a sample. During a time without change, only the first and the last are kept. */
function add(own: Sample[], added: Sample): void {
  const [one, other] = [own.at(-2), own.at(-1)];
  const same = (sample: Sample | undefined) => sample?.slice(1).join() === added.slice(1).join();
  if (same(one) && same(other)) own.pop();
  own.push(added);
}

function rates(own: Sample[], now: number): Rate[] {
  return own.slice(1).flatMap(([to, clients, targets, open], at) => {
    const [from, clientsBefore, targetsBefore] = own[at] as Sample;
    if (to <= from || to < now - HISTORY_MS) return [];
    const seconds = (to - from) / 1000;
    return {
      ...{ from: Math.max(from, now - HISTORY_MS), to, open },
      fromClients: flowed(clientsBefore, clients) / seconds,
      fromTargets: flowed(targetsBefore, targets) / seconds,
    };
  });
}

/** Counters that are less than before have been counted from zero again. */
function flowed(before: number, after: number): number {
  return after >= before ? after - before : after;
}

/** Adds up the rates of links, whose times are different. */
function sumUp(links: Rate[][]): Rate[] {
  const times = [...new Set(links.flatMap((own) => own.flatMap(({ from, to }) => [from, to])))].sort(
    (one, other) => one - other,
  );
  const sums = times
    .slice(1)
    .map((to, at) => ({ from: times[at] as number, to, fromClients: 0, fromTargets: 0, open: 0 }));
  const indexOf = new Map(times.map((time, at) => [time, at]));
  for (const own of links)
    for (const { from, to, fromClients, fromTargets, open } of own)
      for (let at = indexOf.get(from) ?? 0; at < (indexOf.get(to) ?? 0); at++) {
        const sum = sums[at];
        if (!sum) continue;
        sum.fromClients += fromClients;
        sum.fromTargets += fromTargets;
        sum.open += open;
      }
  return sums;
}

function parse(text: string): Record<string, Sample[]> {
  try {
    const read = v.safeParse(saved, JSON.parse(text));
    return read.success ? read.output : {};
  } catch {
    return {};
  }
}
