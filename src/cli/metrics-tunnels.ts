import type { ListedTunnel, TunnelListing } from '../api/tunnel-schema.js';
import { type Labels, type Metric, metric, type Value } from './metric.js';

/** The metrics of tunnels. Those that are deleted, and only wait for the other machine to hear of it, have none. */
export function tunnelMetrics({ tunnels, unreadable }: TunnelListing): Metric[] {
  const existing = tunnels.filter(({ state }) => state !== 'leaving');
  const of = (value: (tunnel: ListedTunnel) => number, labels: Labels = {}): Value[] =>
    existing.map((tunnel) => ({
      labels: { tunnel: tunnel.id, peer: tunnel.peer, ...labels },
      value: value(tunnel),
    }));
  return [
    metric(
      'gauge',
      'wormhole_tunnel_info',
      'A tunnel: how it is encapsulated, and its outer addresses.',
      existing.map(({ id, peer, mode, address, peerAddress }) => ({
        labels: { tunnel: id, peer, mode, address, peer_address: peerAddress },
        value: 1,
      })),
    ),
    metric('gauge', 'wormhole_tunnels_unreadable', 'Tunnels whose units cannot be read.', [
      { labels: {}, value: unreadable.length },
    ]),
    metric(
      'gauge',
      'wormhole_tunnel_up',
      'Whether a tunnel has its interface and keys for both directions.',
      of(({ state }) => (state === 'up' ? 1 : 0)),
    ),
    metric('gauge', 'wormhole_tunnel_associations', 'Security associations that the kernel has.', [
      ...of(({ associations }) => associations?.in ?? 0, { direction: 'in' }),
      ...of(({ associations }) => associations?.out ?? 0, { direction: 'out' }),
    ]),
    metric(
      'gauge',
      'wormhole_tunnel_last_rekey_timestamp_seconds',
      'When a tunnel got its newest keys.',
      existing.flatMap(({ id, peer, lastRekey }) =>
        lastRekey === null ? [] : [{ labels: { tunnel: id, peer }, value: Date.parse(lastRekey) / 1000 }],
      ),
    ),
    metric(
      'counter',
      'wormhole_tunnel_received_bytes_total',
      'Bytes of the packets inside a tunnel that were received.',
      of(({ received }) => received.bytes),
    ),
    metric(
      'counter',
      'wormhole_tunnel_sent_bytes_total',
      'Bytes of the packets inside a tunnel that were sent.',
      of(({ sent }) => sent.bytes),
    ),
    metric(
      'counter',
      'wormhole_tunnel_received_packets_total',
      'Packets inside a tunnel that were received.',
      of(({ received }) => received.packets),
    ),
    metric(
      'counter',
      'wormhole_tunnel_sent_packets_total',
      'Packets inside a tunnel that were sent.',
      of(({ sent }) => sent.packets),
    ),
    metric(
      'counter',
      'wormhole_tunnel_discarded_packets_total',
      'Packets from the other machine that were discarded, since the last rekey.',
      (['replay', 'window', 'authentication'] as const).flatMap((reason) =>
        of(({ errors }) => errors?.[reason] ?? 0, { reason }),
      ),
    ),
  ];
}
