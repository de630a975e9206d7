import { AggregatorRegistry } from 'prom-client';
import type { ListedEnd, ListedLink, Listing } from '../api/listing-schema.js';
import type { TunnelListing } from '../api/tunnel-schema.js';
import { type Labels, type Metric, metric, type Value } from './metric.js';
import { tunnelMetrics } from './metrics-tunnels.js';

type Counters = NonNullable<ListedLink['counters']>;

/** What is rendered. Without `tunnels`, of which only root reads, their figures are left out. */
export interface Figures {
  listing: Listing;
  tunnels?: TunnelListing;
  version: string;
}

/**
 * The figures of links and tunnels in the text format of Prometheus, version 0.0.4. doc/metrics.md describes each; prom-client escapes
 * names that somebody else has chosen.
 */
export function renderMetrics({ listing, tunnels, version }: Figures): Promise<string> {
  const { links, unreadable } = listing;
  const existing = links.filter(({ state }) => state !== 'deleted');
  const metrics = [
    metric('gauge', 'wormhole_build_info', 'The version of Wormhole.', [{ labels: { version }, value: 1 }]),
    metric(
      'gauge',
      'wormhole_link_info',
      'A link: where it listens and where it connects to.',
      existing.map((link) => ({ labels: infoOf(link), value: 1 })),
    ),
    metric(
      'gauge',
      'wormhole_link_state',
      'The state of a link, as wormhole list shows it.',
      existing.map(({ id, state }) => ({ labels: { link: id, state }, value: 1 })),
    ),
    metric('gauge', 'wormhole_links_unreadable', 'Links whose units cannot be read.', [
      { labels: {}, value: unreadable.length },
    ]),
    ...figures(existing.flatMap(({ id, counters }) => (counters ? [{ id, counters }] : []))),
    ...(tunnels === undefined ? [] : tunnelMetrics(tunnels)),
  ];
  return AggregatorRegistry.aggregate([metrics]).metrics();
}

/** A link that has had a client. */
interface Counted {
  id: string;
  counters: Counters;
}

function figures(links: Counted[]): Metric[] {
  const of = (value: (counters: Counters) => number, labels: Labels = {}): Value[] =>
    links.map(({ id, counters }) => ({ labels: { link: id, ...labels }, value: value(counters) }));
  return [
    metric(
      'gauge',
      'wormhole_link_sessions_open',
      'Open sessions.',
      of(({ open }) => open),
    ),
    metric(
      'gauge',
      'wormhole_link_sessions_limit',
      'The most sessions that may be open; 0 if it is not known.',
      of(({ limit }) => limit),
    ),
    metric(
      'counter',
      'wormhole_link_sessions_total',
      'Sessions that the target has accepted.',
      of(({ served }) => served),
    ),
    metric('counter', 'wormhole_link_refused_clients_total', 'Clients that were closed without a session.', [
      ...of(({ unserved }) => unserved, { reason: 'target' }),
      ...of(({ denied }) => denied, { reason: 'access' }),
      ...of(({ refused }) => refused, { reason: 'limit' }),
    ]),
    metric(
      'counter',
      'wormhole_link_received_bytes_total',
      'Bytes received from clients and from the target.',
      [
        ...of(({ bytesFromClients }) => bytesFromClients, { from: 'clients' }),
        ...of(({ bytesFromTarget }) => bytesFromTarget, { from: 'target' }),
      ],
    ),
    metric(
      'counter',
      'wormhole_link_received_datagrams_total',
      'Datagrams received from clients and from the target.',
      [
        ...of(({ datagramsFromClients = 0 }) => datagramsFromClients, { from: 'clients' }),
        ...of(({ datagramsFromTarget = 0 }) => datagramsFromTarget, { from: 'target' }),
      ],
    ),
    metric('counter', 'wormhole_link_resets_total', 'Sessions that were ended by a reset.', [
      ...of(({ resetsByClient }) => resetsByClient, { by: 'client' }),
      ...of(({ resetsByTarget }) => resetsByTarget, { by: 'target' }),
      ...of(({ timedOut }) => timedOut, { by: 'timeout' }),
    ]),
    metric(
      'counter',
      'wormhole_link_held_clients_total',
      'Clients that had to wait for the target to start.',
      of(({ held }) => held),
    ),
    metric(
      'counter',
      'wormhole_link_held_seconds_total',
      'How long clients have waited for the target to start.',
      of(({ heldMs }) => heldMs / 1000),
    ),
    metric(
      'gauge',
      'wormhole_link_last_failure_timestamp_seconds',
      'When a client was last closed because the target was not reached.',
      links.flatMap(({ id, counters: { lastFailure } }) =>
        lastFailure ? [{ labels: { link: id }, value: lastFailure.at / 1000 }] : [],
      ),
    ),
    metric(
      'histogram',
      'wormhole_link_connect_duration_seconds',
      'How long successful attempts to connect to the target took.',
      links.flatMap(connectValues),
    ),
  ];
}

/** The buckets of Prometheus contain those below them. */
function connectValues({ id, counters: { dials = [], dialMs = 0 } }: Counted): Value[] {
  const name = 'wormhole_link_connect_duration_seconds';
  let sum = 0;
  const buckets = dials.map(({ upToMs, count }) => {
    sum += count;
    const le = upToMs === undefined ? '+Inf' : upToMs / 1000;
    return { metricName: `${name}_bucket`, labels: { link: id, le }, value: sum };
  });
  if (buckets.length === 0) return [];
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels: { link: id }, value: dialMs / 1000 },
    { metricName: `${name}_count`, labels: { link: id }, value: sum },
  ];
}

function infoOf({ id, parent = '', owner = '', tunnel = '', head, tail }: ListedLink): Labels {
  return { link: id, head: urlOf(head), tail: urlOf(tail), tail_place: tail.place, parent, owner, tunnel };
}

function urlOf({ url, also = [] }: ListedEnd): string {
  return [url, ...also].join(' ');
}
