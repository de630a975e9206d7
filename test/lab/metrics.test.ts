import * as assert from 'uvu/assert';
import type { Listing } from '../../src/api/listing-schema.js';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* What Prometheus gets to see: judged by its own tool, and by the collector that reads files. */

labSuite(
  'metrics',
  () =>
    installedHost({
      name: 'metrics',
      docker: false,
      packages: ['curl', 'prometheus', 'prometheus-node-exporter'],
    }),
  (test, at) => {
    test('promtool finds nothing wrong, and the figures are those of list and of the clients', async () => {
      const host = at();
      await host.run(
        `systemd-run --unit sink socat -t 60 TCP-LISTEN:6010,bind=127.0.0.1,fork,reuseaddr SYSTEM:'wc -c'`,
      );
      await succeeds(host, 'create id good url :5210 tail url :6010');
      await succeeds(host, 'create id bad url :5211 tail url :6011');
      await succeeds(host, 'create id unused url :5212 tail url :6012');
      for (const size of [1000, 2000]) await host.run(`head -c ${size} /dev/zero | nc -N 127.0.0.1 5210`);
      await host.run('nc 127.0.0.1 5211 </dev/null', { check: false });
      const text = (await host.run('wormhole metrics')).stdout;
      const checked = await host.run('promtool check metrics', { input: text, check: false });
      assert.equal([checked.stdout, checked.stderr, checked.status], ['', '', 0]);
      for (const line of [
        'wormhole_link_sessions_total{link="good"} 2',
        'wormhole_link_sessions_total{link="bad"} 0',
        'wormhole_link_received_bytes_total{link="good",from="clients"} 3000',
        'wormhole_link_received_bytes_total{link="good",from="target"} 10',
        'wormhole_link_refused_clients_total{link="bad",reason="target"} 1',
        'wormhole_link_connect_duration_seconds_count{link="good"} 2',
        'wormhole_link_connect_duration_seconds_bucket{link="good",le="+Inf"} 2',
        'wormhole_link_state{link="bad",state="failing"} 1',
        'wormhole_link_state{link="unused",state="listening"} 1',
      ])
        assert.ok(text.includes(`\n${line}\n`), `${line}\n${text}`);
      const { counters } = (await list(host)).find(({ id }) => id === 'bad') ?? {};
      assert.ok(
        text.includes(
          `\nwormhole_link_last_failure_timestamp_seconds{link="bad"} ${(counters?.lastFailure?.at ?? 0) / 1000}\n`,
        ),
      );
      assert.not.match(text, /sessions_total\{link="unused"/);
    });

    test('the socket is closed until it is enabled, serves as nobody, and ends when nobody asks', async () => {
      const host = at();
      assert.is((await host.run('curl -sS http://127.0.0.1:9998/metrics', { check: false })).status, 7);
      await host.run('systemctl enable --now wormhole-metrics.socket');
      const { stdout } = await host.run('curl -sSi http://127.0.0.1:9998/metrics');
      assert.match(
        stdout,
        /^HTTP\/1\.1 200 OK\r\nContent-Type: text\/plain; version=0\.0\.4; charset=utf-8\r\n/,
      );
      // A forwarder may fall asleep between two looks, and the server gives the same answer for a second.
      await host.waitFor(
        async () =>
          (await host.run('curl -sS http://127.0.0.1:9998/metrics')).stdout ===
          (await host.run('wormhole metrics')).stdout,
        { what: 'the figures to be those of the command' },
      );
      // It ends soon after a request.
      const status = (
        await host.run(
          'curl -sS -o /dev/null http://127.0.0.1:9998/metrics; cat /proc/$(systemctl show -P MainPID wormhole-metrics.service)/status',
        )
      ).stdout;
      assert.match(status, /^Uid:\s+1\s/m);
      assert.match(status, /^CapEff:\s+0{16}$/m);
      const code = async (args: string) =>
        (await host.run(`curl -s -o /dev/null -w '%{http_code}' ${args}`)).stdout;
      assert.is(await code('http://127.0.0.1:9998/'), '404');
      assert.is(await code('-X POST http://127.0.0.1:9998/metrics'), '405');
      // The page of a site whose name leads to 127.0.0.1.
      assert.is(await code('-H "Host: evil.example:9998" http://127.0.0.1:9998/metrics'), '403');
      assert.is(await code('-H "Host: localhost:9998" http://127.0.0.1:9998/metrics'), '200');
      // A caller that says nothing does not keep it.
      const silent = host.spawn('timeout 60 nc 127.0.0.1 9998');
      await host.waitFor(
        async () =>
          (await host.run('systemctl is-active wormhole-metrics.service', { check: false })).stdout ===
          'inactive\n',
        { timeout: 40, what: 'the server to end' },
      );
      await silent.exited;
      assert.is(await code('http://127.0.0.1:9998/metrics'), '200');
      // Nor do many of them keep others out.
      const crowd = host.spawn(
        'for i in $(seq 100); do timeout 60 nc -d 127.0.0.1 9998 & done; echo all; wait',
      );
      await host.waitFor(() => crowd.stdout().includes('all'), { timeout: 30, what: 'the crowd to come' });
      for (let n = 0; n < 5; n++) assert.is(await code('http://127.0.0.1:9998/metrics'), '200');
      crowd.stop('SIGKILL');
      await crowd.exited;
      assert.is(await host.failedUnits(), '');
    });

    test('a scrape neither starts a link nor keeps it awake', async () => {
      const host = at();
      await succeeds(host, 'create --idle 2s id nap url :5213 trigger url :6010');
      await host.run('echo x | nc -N 127.0.0.1 5213');
      await host.waitFor(
        async () => {
          await host.run('curl -sSf -o /dev/null http://127.0.0.1:9998/metrics');
          return (
            (await host.run('systemctl is-active wormhole-nap.service', { check: false })).stdout ===
            'inactive\n'
          );
        },
        { timeout: 30, what: 'the forwarder to end while it is scraped' },
      );
      await host.run('curl -sSf -o /dev/null http://127.0.0.1:9998/metrics; sleep 0.5');
      assert.is(
        (await host.run('systemctl is-active wormhole-nap.service', { check: false })).stdout,
        'inactive\n',
      );
    });

    test('node-exporter serves what the timer has written', async () => {
      const host = at();
      assert.is((await host.run('ls /var/lib/prometheus/node-exporter')).stdout.includes('wormhole'), false);
      await host.run('systemctl enable --now wormhole-metrics.timer');
      await host.waitFor(
        async () => {
          const { stdout } = await host.run('curl -sS http://127.0.0.1:9100/metrics');
          return /^wormhole_link_sessions_total\{link="good"\} 2$/m.test(stdout);
        },
        { timeout: 60, what: 'the figures at node-exporter' },
      );
      const { stdout } = await host.run('curl -sS http://127.0.0.1:9100/metrics');
      assert.match(stdout, /^node_textfile_scrape_error 0$/m);
      // While it is written again, a draft is beside it.
      await host.waitFor(
        async () =>
          (await host.run('ls -A /var/lib/prometheus/node-exporter | grep -i wormhole')).stdout ===
          'wormhole.prom\n',
        { what: 'one file and no other' },
      );
    });

    test('faults of the command are told, and nothing is left', async () => {
      const host = at();
      await fails(host, 'metrics --output x.prom', /--output "x\.prom" is not an absolute path/, 2);
      await fails(host, 'metrics --output /nowhere/x.prom', /ENOENT.*\/nowhere/);
      await fails(host, 'metrics-serve', /systemd has passed no socket: start wormhole-metrics\.socket/);
      await host.run('systemctl disable --now wormhole-metrics.socket wormhole-metrics.timer');
      await succeeds(host, 'delete --all');
      await leavesNothing(host);
    });
  },
);

async function list(host: Host): Promise<Listing['links']> {
  return JSON.parse(await succeeds(host, 'list --json'));
}
