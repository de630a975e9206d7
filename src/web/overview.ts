import type { LinkDetails, ListedLink, Listing } from '../api/listing-schema.js';
import type { TunnelListing } from '../api/tunnel-schema.js';

/** What flows through a link, per second. */
export interface LinkRates {
  served: number;
  fromClients: number;
  fromTarget: number;
}

/** What the map shows. */
export interface Overview {
  /** The name of this machine. */
  machine: string;
  /** When it was read, ms since 1970. */
  at: number;
  /** How long the page waits before it asks again, ms. */
  next: number;
  links: (ListedLink & { rates?: LinkRates })[];
  unreadable: Listing['unreadable'];
  tunnels: TunnelListing['tunnels'];
  /** Why the tunnels are unknown. */
  tunnelProblem?: string;
}

/** What the panel shows of a link. `optionWords` are its options as they are typed. */
export interface ShownDetails extends LinkDetails {
  optionWords: string[];
}

/** The links of a moment, ms since 1970. */
export interface Look {
  at: number;
  links: ListedLink[];
}

/** Adds rates to links that were there before; those of a link without clients are absent. */
export function withRates(before: Look | undefined, { at, links }: Look): Overview['links'] {
  if (!before || at <= before.at) return links;
  const known = new Map(before.links.map((link) => [link.id, link]));
  const seconds = (at - before.at) / 1000;
  return links.map((link) => {
    const [now, then] = [link.counters, known.get(link.id)];
    if (!now || !then) return link;
    const rate = (name: 'served' | 'bytesFromClients' | 'bytesFromTarget') =>
      Math.max(0, now[name] - (then.counters?.[name] ?? 0)) / seconds;
    const rates = {
      served: rate('served'),
      fromClients: rate('bytesFromClients'),
      fromTarget: rate('bytesFromTarget'),
    };
    return { ...link, rates };
  });
}
