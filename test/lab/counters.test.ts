import * as assert from 'uvu/assert';
import type { DayReport, Listing } from '../../src/api/listing-schema.js';
import { askDatagram } from './ask-datagram.ts';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import { listens } from './listening.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* What links count, beside what others count, and how long they keep it. */

labSuite(
  'counters',
  async () => {
    const host = await installedHost({ name: 'counters', packages: ['iperf3'] });
    // Its day does not end while the tests look at what has flowed on it.
    const ahead = 12 - new Date().getUTCHours();
    await host.run(
      `ln -sf /usr/share/zoneinfo/Etc/GMT${ahead < 0 ? '+' : '-'}${Math.abs(ahead)} /etc/localtime`,
    );
    assert.match((await host.run('date +%H')).stdout, /^1[23]$/m);
    return host;
  },
  (test, at) => {
    test('sessions and bytes each way are those that others count', async () => {
      const host = at();
      await host.run(
        `systemd-run --unit sink socat -t 20 TCP-LISTEN:6010,bind=127.0.0.1,fork,reuseaddr SYSTEM:'wc -c; head -c 1234567 /dev/zero'`,
      );
      await listens(host, 6010);
      await succeeds(host, 'create id exact url :5210 tail url :6010');
      const sizes = [1, 65_536, 20_000_000];
      for (const size of sizes)
        assert.is(
          (await host.run(`head -c ${size} /dev/zero | nc -N 127.0.0.1 5210 | tr -d '\\000'`)).stdout,
          `${size}\n`,
        );
      const counted = await counters(host, 'exact');
      assert.equal(
        [counted.served, counted.bytesFromClients, counted.bytesFromTarget],
        [3, 20_065_537, 3 * 1_234_567 + 2 + 6 + 9],
      );
      assert.is(
        counted.dials?.reduce((sum, { count }) => sum + count, 0),
        3,
      );
      assert.is(counted.lastFailure, undefined);
    });

    test('the bytes of streams are between those that iperf3 has received and sent', async () => {
      const host = at();
      await host.run('systemd-run --unit iperf iperf3 -s -B 127.0.0.1 -p 6000');
      await listens(host, 6000);
      await succeeds(host, 'create id speed url :5201 tail url :6000');
      const { stdout } = await host.run('iperf3 -c 127.0.0.1 -p 5201 -n 20M -P 3 -J', { timeout: 60 });
      const { sum_sent: sent, sum_received: received } = JSON.parse(stdout).end;
      const { served, bytesFromClients } = await counters(host, 'speed');
      // Beside the data, iperf3 talks over a fourth connection.
      assert.is(served, 4);
      assert.ok(
        received.bytes <= bytesFromClients && bytesFromClients < sent.bytes + 20_000,
        `${bytesFromClients}: ${received.bytes} to ${sent.bytes}`,
      );
    });

    test('datagrams are counted one by one, also those that the kernel joins', async () => {
      const host = at();
      await host.run(`systemd-run --unit echo socat UDP-RECVFROM:6001,bind=127.0.0.1,fork EXEC:cat`);
      await listens(host, 6001, { isUdp: true });
      await succeeds(host, 'create id dgrams url udp://:5202 tail url udp://:6001');
      for (let n = 1; n <= 25; n++)
        assert.is(await askDatagram(host, 5202, { say: `ping ${n}` }), `ping ${n}\n`);
      const counted = await counters(host, 'dgrams');
      assert.equal([counted.datagramsFromClients, counted.datagramsFromTarget], [25, 25]);
      assert.is(counted.bytesFromClients, counted.bytesFromTarget);
      await host.run('systemctl stop echo; systemd-run --unit iperf-udp iperf3 -s -B 127.0.0.1 -p 6002');
      await listens(host, 6002);
      await succeeds(host, 'create id joined url udp://:5203 url tcp://:5203 tail url :6002');
      // All of it fits into the receive buffer of the head: none is lost when the forwarder has to wait for the processor.
      const { stdout } = await host.run('iperf3 -u -c 127.0.0.1 -p 5203 -b 20M -n 2M -l 1000 -J', {
        timeout: 60,
      });
      const { sum } = JSON.parse(stdout).end;
      const { datagramsFromClients = 0 } = await counters(host, 'joined');
      // iperf3 greets with a datagram.
      assert.ok(
        datagramsFromClients === sum.packets || datagramsFromClients === sum.packets + 1,
        `${datagramsFromClients} of ${sum.packets} datagrams`,
      );
    });

    test('the last failure is told with its time, also when the target is back', async () => {
      const host = at();
      await succeeds(host, 'create id back url :5204 tail url :6004');
      const before = Date.now();
      await host.run('nc 127.0.0.1 5204 </dev/null', { check: false });
      await host.run(
        `systemd-run --unit back socat TCP-LISTEN:6004,bind=127.0.0.1,fork,reuseaddr SYSTEM:'echo here'`,
      );
      assert.is((await host.run('nc 127.0.0.1 5204')).stdout, 'here\n');
      const { failing, lastFailure } = await counters(host, 'back');
      assert.is(failing, undefined);
      assert.match(lastFailure?.reason ?? '', /127\.0\.0\.1:6004 on this host refused/);
      assert.ok((lastFailure?.at ?? 0) >= before && (lastFailure?.at ?? 0) <= Date.now());
    });

    test('looking at a link neither starts it nor keeps it awake', async () => {
      const host = at();
      await succeeds(host, 'create --idle 2s id nap url :5205 trigger url :6004');
      assert.is((await host.run('nc 127.0.0.1 5205')).stdout, 'here\n');
      await host.waitFor(
        async () => {
          await succeeds(host, 'list');
          await succeeds(host, 'report');
          return (
            (await host.run('systemctl is-active wormhole-nap.service', { check: false })).stdout ===
            'inactive\n'
          );
        },
        { timeout: 30, what: 'the forwarder to end while it is looked at' },
      );
      for (const command of ['list', 'list --json', 'report']) await succeeds(host, command);
      assert.is(
        (await host.run('systemctl is-active wormhole-nap.service', { check: false })).stdout,
        'inactive\n',
      );
      assert.is((await counters(host, 'nap')).served, 1);
    });

    test('counters are saved when the last forwarder has ended, and outlive a power cut', async () => {
      const host = at();
      await host.run("systemctl stop 'wormhole-*.service'");
      await host.waitFor(
        async () =>
          (await host.run('systemctl is-active wormhole-counters.timer', { check: false })).stdout ===
          'inactive\n',
        { timeout: 20, what: 'the timer to stop' },
      );
      await host.waitFor(async () => /"speed"/.test((await saved(host)).stdout), {
        timeout: 20,
        what: 'the counters to be saved',
      });
      await host.run('systemctl start wormhole-counters.service; sync');
      const before = await counters(host, 'speed');
      await host.crash();
      await host.start();
      assert.equal(await counters(host, 'speed'), { ...before, open: 0 });
      await host.run('systemd-run --unit iperf iperf3 -s -B 127.0.0.1 -p 6000');
      await listens(host, 6000);
      await host.run('iperf3 -c 127.0.0.1 -p 5201 -n 1M', { timeout: 60 });
      assert.is((await counters(host, 'speed')).served, before.served + 2);
    });

    test('what a forwarder counts until the moment of a reboot is saved', async () => {
      const host = at();
      // A process of nsenter would outlive the host's init.
      await host.run('systemd-run --unit client iperf3 -c 127.0.0.1 -p 5201 -t 600');
      await host.waitFor(async () => (await counters(host, 'speed')).open === 2, {
        timeout: 20,
        what: 'iperf3 to connect',
      });
      const before = await counters(host, 'speed');
      await host.reboot();
      const after = await counters(host, 'speed');
      assert.is(after.served, before.served);
      assert.is(after.open, 0);
      assert.ok(after.bytesFromClients >= before.bytesFromClients);
      assert.is(await host.failedUnits(), '');
    });

    test('report has the traffic of a day, from this machine and of another, and of a deleted link', async () => {
      const host = at();
      const { served, bytesFromClients } = await counters(host, 'speed');
      const days = JSON.parse(await succeeds(host, 'report --json speed'));
      assert.is(days.length, 1);
      assert.is(days[0].day, (await host.run('date +%F')).stdout.trim());
      const [{ id, traffic }] = days[0].links;
      assert.equal([id, traffic.served, traffic.bytesFromClients], ['speed', served, bytesFromClients]);
      assert.equal(
        JSON.parse(await succeeds(host, '-H unix:///run/wormhole.sock report --json speed')),
        days,
      );
      assert.match(
        await succeeds(host, 'report dgrams'),
        /^DAY +ID +SESSIONS +REFUSED +FROM CLIENTS +FROM TARGET +DATAGRAMS\n\d{4}-\d\d-\d\d +dgrams +25 +0 +\d+ B +\d+ B +50$/,
      );
      for (const machine of ['', '-H unix:///run/wormhole.sock '])
        await fails(
          host,
          `${machine}report dgrams nothere`,
          /^wormhole: no link "nothere": see wormhole list\n$/,
        );
      await succeeds(host, 'create id unused url :5299 tail url :6999');
      assert.equal(JSON.parse(await succeeds(host, 'report --json unused')), []);
      await succeeds(host, 'delete unused');
      await fails(host, 'report unused', /^wormhole: no link "unused"/);
      await fails(host, 'report --days x', /--days "x" is not a number of days such as 7/, 2);
      await succeeds(host, 'delete speed');
      assert.equal(JSON.parse(await succeeds(host, 'report --json speed')), days);
      await succeeds(host, 'create id speed url :5201 tail url :6000');
      assert.equal((await list(host)).find((link) => link.id === 'speed')?.counters, undefined);
      assert.equal(JSON.parse(await succeeds(host, 'report --json speed')), days);
    });

    test('a day that is over has a record of its own, and the days add up to the counters', async () => {
      const host = at();
      const before = await counters(host, 'exact');
      // As if midnight had passed since the last save.
      await host.run(
        `wormhole counters-save; sed -i 's/"day":"[^"]*"/"day":"2026-01-31"/' /var/lib/wormhole/traffic/current.json`,
      );
      await host.run(
        'systemd-run --unit sink socat -t 20 TCP-LISTEN:6010,bind=127.0.0.1,fork,reuseaddr SYSTEM:"wc -c"',
      );
      await listens(host, 6010);
      await host.run('echo 1234567 | nc -N 127.0.0.1 5210');
      const report = async () => JSON.parse(await succeeds(host, 'report --json exact'));
      const unsaved = await report();
      await host.run('wormhole counters-save; wormhole counters-save');
      assert.equal(await report(), unsaved);
      assert.equal(
        unsaved.map(({ day, links: [link] }: DayReport) => [
          day,
          link?.traffic.served,
          link?.traffic.bytesFromClients,
        ]),
        [
          ['2026-01-31', before.served, before.bytesFromClients],
          [(await host.run('date +%F')).stdout.trim(), 1, 8],
        ],
      );
      assert.match(
        (await host.run('ls /var/lib/wormhole/traffic')).stdout,
        /^2026-01-31\.json\ncurrent\.json\n$/,
      );
      assert.equal(JSON.parse(await succeeds(host, 'report --json --days 1 exact')), unsaved.slice(-1));
      // The clock was wrong, and is set back: the day goes on where it stopped.
      const { day } = unsaved[1];
      await host.run(
        `sed -i 's/"day":"[^"]*"/"day":"2099-01-01"/' /var/lib/wormhole/traffic/current.json; cp /var/lib/wormhole/traffic/2026-01-31.json /var/lib/wormhole/traffic/${day}.json`,
      );
      await host.run('echo 1234567 | nc -N 127.0.0.1 5210; wormhole counters-save');
      assert.equal(
        (await report()).map((one: DayReport) => [one.day, one.links[0]?.traffic.served]),
        [
          ['2026-01-31', before.served],
          [day, before.served + 1],
          ['2099-01-01', 1],
        ],
      );
      await host.run('rm /var/lib/wormhole/traffic/2*.json');
    });

    test('a full disk and a damaged record keep no link from being deleted', async () => {
      const host = at();
      await host.run('echo "{" > /var/lib/wormhole/traffic/current.json');
      const { stderr } = await host.run('wormhole delete dgrams');
      assert.match(stderr, /^wormhole: .*current\.json\.unreadable is not a record of counters[^\n]*\n$/);
      await host.run('mkdir /root/full && mount -t tmpfs -o size=4k none /var/lib/wormhole/traffic');
      try {
        await host.run('head -c 1M /dev/zero > /var/lib/wormhole/traffic/filler', { check: false });
        const { stderr: full } = await host.run('wormhole delete joined');
        assert.match(full, /^wormhole: what has flowed through joined since the last record is lost: ENOSPC/);
      } finally {
        await host.run('umount /var/lib/wormhole/traffic');
      }
      assert.not.match(await succeeds(host, 'list'), /joined|dgrams/);
    });

    test('the journal is searched by link, by what belongs to it, and by machine', async () => {
      const host = at();
      await succeeds(host, 'create id top url :5301 chain id sub url :5302 tail url :6999');
      await host.run('nc 127.0.0.1 5301 </dev/null', { check: false });
      const lines = (match: string) => host.journal('-o', 'cat', match);
      await host.waitFor(async () => /refused/.test(await lines('WORMHOLE_LINK=sub')), {
        timeout: 20,
        what: 'the line of the forwarder',
      });
      assert.match(await lines('WORMHOLE_LINK=sub'), /^link sub: .*refused/m);
      assert.not.match(await lines('WORMHOLE_LINK=top'), /link sub:/);
      assert.match(await lines('WORMHOLE_ROOT=top'), /^link sub: .*refused/m);
      await succeeds(host, 'delete --all');
      await leavesNothing(host);
    });
  },
);

function saved(host: Host) {
  return host.run('cat /var/lib/wormhole/traffic/current.json', { check: false });
}

async function list(host: Host): Promise<Listing['links']> {
  return JSON.parse(await succeeds(host, 'list --json'));
}

async function counters(host: Host, id: string): Promise<NonNullable<Listing['links'][number]['counters']>> {
  const found = (await list(host)).find((link) => link.id === id)?.counters;
  assert.ok(found, `counters of link ${id}`);
  return found;
}
