import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ListedLink } from '../../src/api/schema.ts';
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

test('buckets contain those below them, and their units are seconds', async () => {
  const text = await renderMetrics({ links: [link], unreadable: [] }, '1');
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
  const text = await renderMetrics({ links: [link], unreadable: [] }, '1');
  assert.ok(text.includes('tail_place="container \\"a\\\\b\\"\\nc"'), text);
  for (const line of text.split('\n')) assert.match(line, /^(#.*|wormhole_\w+(\{.*\})? [\d.e+-]+|)$/);
});

test('the documentation names each metric with its labels, and the dashboard asks for those that there are', async () => {
  const text = await renderMetrics({ links: [link], unreadable: [] }, '1');
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
    [...dashboard.matchAll(/wormhole_link\w+/g)].map(([name]) => name.replace(/_bucket$/, '')),
  );
  assert.ok(asked.size > 8);
  for (const name of asked) assert.ok(types.has(name), name);
});

test.run();
