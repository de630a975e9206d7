import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ListedLink } from '../../src/api/listing-schema.ts';
import type { ListedTunnel } from '../../src/api/tunnel-schema.ts';
import { renderMetrics } from '../../src/cli/metrics-text.ts';

const test = suite('metrics');

const link: ListedLink = {
  id: '3306',
  head: { url: 'tcp://127.0.0.1:3306', place: 'this host' },
  tail: { url: 'tcp://127.0.0.1:3306', place: 'container "a\\b"\nc' },
  state: 'connected',
  detail: '',
  recipe: '',
  counters: {
    ...{
      open: 1,
      limit: 9,
      served: 4,
      unserved: 2,
      denied: 1,
      refused: 0,
      timedOut: 0,
      resetsByClient: 1,
      resetsByTarget: 0,
    },
    ...{ bytesFromClients: 1500, bytesFromTarget: 7, held: 2, heldMs: 3000 },
    ...{ datagramsFromClients: 7, datagramsFromTarget: 8, dialMs: 10 },
    dials: [{ upToMs: 1, count: 3 }, { upToMs: 5, count: 0 }, { count: 1 }],
    lastFailure: { at: 1_700_000_000_500, reason: 'refused' },
  },
};

const tunnel: ListedTunnel = {
  ...{ id: 'f00d', peer: 'my"server', mode: 'udp', local: '100.64.0.1', remote: '100.64.0.2' },
  ...{ address: '10.0.0.1', peerAddress: '10.0.0.2', state: 'up', detail: '', keyAge: 5 },
  lastRekey: '2026-01-02T03:04:05.000Z',
  received: { bytes: 1000, packets: 10 },
  sent: { bytes: 2000, packets: 20 },
  associations: { in: 2, out: 1 },
  errors: { replay: 1, window: 2, authentication: 3 },
};

const figures = {
  listing: { links: [link], unreadable: [] },
  tunnels: {
    tunnels: [tunnel, { ...tunnel, id: 'left', state: 'leaving' as const }],
    unreadable: [{ unit: 'x', reason: 'y' }],
  },
  version: '1',
};

test('a tunnel has its figures, and none while it is deleted', async () => {
  const text = await renderMetrics(figures);
  const labels = 'tunnel="f00d",peer="my\\"server"';
  assert.equal(
    text.split('\n').filter((line) => line.startsWith('wormhole_tunnel')),
    [
      `wormhole_tunnel_info{${labels},mode="udp",address="10.0.0.1",peer_address="10.0.0.2"} 1`,
      'wormhole_tunnels_unreadable 1',
      `wormhole_tunnel_up{${labels}} 1`,
      `wormhole_tunnel_associations{${labels},direction="in"} 2`,
      `wormhole_tunnel_associations{${labels},direction="out"} 1`,
      `wormhole_tunnel_last_rekey_timestamp_seconds{${labels}} ${Date.UTC(2026, 0, 2, 3, 4, 5) / 1000}`,
      `wormhole_tunnel_received_bytes_total{${labels}} 1000`,
      `wormhole_tunnel_sent_bytes_total{${labels}} 2000`,
      `wormhole_tunnel_received_packets_total{${labels}} 10`,
      `wormhole_tunnel_sent_packets_total{${labels}} 20`,
      `wormhole_tunnel_discarded_packets_total{${labels},reason="replay"} 1`,
      `wormhole_tunnel_discarded_packets_total{${labels},reason="window"} 2`,
      `wormhole_tunnel_discarded_packets_total{${labels},reason="authentication"} 3`,
    ],
  );
});

test('a tunnel without keys is down, and was never rekeyed; what an old version does not tell is 0', async () => {
  const { associations: _, errors: __, ...old } = tunnel;
  const down = { ...old, state: 'down' as const, keyAge: null, lastRekey: null };
  const text = await renderMetrics({ ...figures, tunnels: { tunnels: [down], unreadable: [] } });
  assert.match(text, /^wormhole_tunnel_up\{.*\} 0$/m);
  assert.match(text, /^wormhole_tunnel_associations\{.*direction="in"\} 0$/m);
  assert.not.match(text, /^wormhole_tunnel_last_rekey_timestamp_seconds\{/m);
  const { tunnels: ___, ...links } = figures;
  assert.not.match(await renderMetrics(links), /tunnel_|tunnels_/);
});

test('buckets contain those below them, and their units are seconds', async () => {
  const text = await renderMetrics(figures);
  assert.match(
    text,
    new RegExp(
      [
        '# TYPE wormhole_link_connect_duration_seconds histogram',
        'wormhole_link_connect_duration_seconds_bucket{link="3306",le="0.001"} 3',
        'wormhole_link_connect_duration_seconds_bucket{link="3306",le="0.005"} 3',
        'wormhole_link_connect_duration_seconds_bucket{link="3306",le="\\+Inf"} 4',
        'wormhole_link_connect_duration_seconds_sum{link="3306"} 0.01',
        'wormhole_link_connect_duration_seconds_count{link="3306"} 4',
      ].join('\n'),
    ),
  );
  assert.match(text, /^wormhole_link_held_seconds_total\{link="3306"\} 3$/m);
  assert.match(text, /^wormhole_link_last_failure_timestamp_seconds\{link="3306"\} 1700000000\.5$/m);
});

test('names that others have chosen are escaped, and end no line', async () => {
  const text = await renderMetrics(figures);
  assert.ok(text.includes('tail_place="container \\"a\\\\b\\"\\nc"'), text);
  for (const line of text.split('\n')) assert.match(line, /^(#.*|wormhole_\w+(\{.*\})? [\d.e+-]+|)$/);
});

test('the documentation names each metric with its labels, and the dashboard asks for those that there are', async () => {
  const text = await renderMetrics(figures);
  const types = new Map(
    [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name = '', type = '']) => [name, type]),
  );
  assert.ok(types.size > 10);
  const rows = [
    ...readFileSync(new URL('../../doc/metrics.md', import.meta.url), 'utf8').matchAll(
      /^\| `(wormhole_\w+)` \| (\w+) \| (.*?) \|/gm,
    ),
  ];
  assert.equal(
    rows.map(([, name, type]) => `${name} ${type}`).sort(),
    [...types].map(([name, type]) => `${name} ${type}`).sort(),
  );
  for (const [, name, , labels = ''] of rows) {
    const sample = new RegExp(`^${name}(?:_bucket)?(?:\\{(.*)\\})? `, 'm').exec(text)?.[1] ?? '';
    assert.equal(
      [...sample.matchAll(/(\w+)="/g)].map(([, label]) => label),
      [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label),
      name,
    );
  }
  const dashboard = readFileSync(new URL('../../doc/grafana.json', import.meta.url), 'utf8');
  const asked = new Set(
    [...dashboard.matchAll(/wormhole_(?:link|tunnel)\w+/g)].map(([name]) => name.replace(/_bucket$/, '')),
  );
  assert.ok(asked.size > 12);
  for (const name of asked) assert.ok(types.has(name), name);
});

test.run();
