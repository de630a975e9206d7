import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

function journal(host: Host, id: string): Promise<string> {
  return host.journal('-b', '-o', 'cat', '-u', `wormhole-${id}.service`);
}

/** Keeps a client connected under a unit of this name, which writes what it hears to /tmp/UNIT. */
async function hold(host: Host, unit: string, address: string): Promise<void> {
  const command = `(echo ${unit}; exec sleep 600) | socat -t 600 - ${address} > /tmp/${unit}`;
  await host.run(`systemd-run --unit ${unit} -p SuccessExitStatus=1 sh -c '${command}'`);
}

function heard(host: Host, unit: string): Promise<string> {
  return host.run(`cat /tmp/${unit}`).then(({ stdout }) => stdout);
}

/** Waits until the target has answered to a client. */
async function answered(host: Host, unit: string): Promise<void> {
  await host.waitFor(async () => (await heard(host, unit)) === `${unit}\n`, {
    what: `the answer to ${unit}`,
  });
}

/** Makes sure that `edit` has the limits that `create --replace` has set. */
async function showsLimits(host: Host): Promise<void> {
  const { stdout } = await host.run('EDITOR=cat wormhole edit few 2>/dev/null');
  for (const line of [
    '--max-connections 50',
    '--max-per-source 2',
    '--rate 9',
    '--idle-timeout 1h',
    '--keepalive 1m',
  ])
    assert.ok(stdout.split('\n').includes(line), `${line} in\n${stdout}`);
}

labSuite(
  'overload',
  () => installedHost({ name: 'overload' }),
  (test, at) => {
    test('beyond --max-connections clients wait and are then refused, and list and the journal say so', async () => {
      const host = at();
      await host.run(
        'systemd-run --unit echo socat -t 60 TCP-LISTEN:7001,fork,reuseaddr,backlog=100 EXEC:cat',
      );
      await succeeds(host, 'create --max-connections 2 id few url :7000 tail url :7001');
      for (const unit of ['inside1', 'inside2']) {
        await hold(host, unit, 'TCP:127.0.0.1:7000');
        await answered(host, unit);
      }
      for (const unit of ['waits1', 'waits2', 'waits3']) await hold(host, unit, 'TCP:127.0.0.1:7000');
      await host.waitFor(async () => (await succeeds(host, 'list')).includes('3 refused'), {
        what: 'the refusals',
      });
      assert.match(
        await succeeds(host, 'list'),
        /2 open, 2 served, 3 refused, \d+ B; that is its limit, and further clients wait/,
      );
      for (const unit of ['waits1', 'waits2', 'waits3']) assert.is(await heard(host, unit), '');
      const [link] = JSON.parse(await succeeds(host, 'list --json'));
      assert.is(link.counters.refused, 3);
      assert.match(
        await journal(host, 'few'),
        /link few: 2 clients are connected, which is as many as --max-connections .* refused after 5 s/,
      );
      assert.match(await journal(host, 'few'), /link few: refused 127\.0\.0\.1:\d+: it has waited for 5 s/);
      // One that leaves makes room for the next.
      await host.run('systemctl stop inside1');
      await hold(host, 'next', 'TCP:127.0.0.1:7000');
      await answered(host, 'next');
      assert.is(await heard(host, 'inside2'), 'inside2\n');
      await host.run('systemctl stop inside2 next');
    });

    test('limits are shown by edit, changed by --replace, and kept by an upgrade; open sessions continue', async () => {
      const host = at();
      await hold(host, 'stays', 'TCP:127.0.0.1:7000');
      await answered(host, 'stays');
      // Sessions that are older than a second continue.
      await host.run('sleep 1.5');
      await succeeds(
        host,
        'create --replace --max-connections 50 --max-per-source 2 --rate 9 --idle-timeout 1h --keepalive 1m id few url :7000 tail url :7001',
      );
      await showsLimits(host);
      // A unit that is to be rendered again.
      await host.run(
        'sed -i /^MemoryMax/d /etc/systemd/system/wormhole-few.service; wormhole upgrade --force',
      );
      const unit = (await host.run('cat /etc/systemd/system/wormhole-few.service')).stdout;
      assert.match(unit, /^MemoryMax=/m);
      assert.match(
        unit,
        /^ExecStart=.* --max-connections 50 --max-per-source 2 --rate 9 --idle-timeout 3600 --keepalive 60$/m,
      );
      await showsLimits(host);
      await host.run('rm -r /var/lib/wormhole/replaced');
      // The session of before counts for its source.
      await hold(host, 'second', 'TCP:127.0.0.1:7000');
      await answered(host, 'second');
      const third = await host.run('echo x | socat -t 10 - TCP:127.0.0.1:7000', { check: false });
      assert.is(third.stdout, '');
      const elsewhere = await host.run('echo x | socat -t 60 - TCP:127.0.0.1:7000,bind=127.0.0.2');
      assert.is(elsewhere.stdout, 'x\n');
      await answered(host, 'stays');
      assert.is((await host.run('systemctl is-active stays')).stdout, 'active\n');
      const timers = await host.run('ss -Htno state established "( sport = :7000 or dport = :7001 )"');
      const lines = timers.stdout.trim().split('\n');
      assert.ok(
        lines.some((line) => line.includes('timer:(keepalive,')),
        timers.stdout,
      );
      await host.run('systemctl stop stays second');
      await succeeds(host, 'delete few');
      await leavesNothing(host);
    });

    test('--idle-timeout ends a session on which nothing moves', async () => {
      const host = at();
      await succeeds(host, 'create --idle-timeout 6s id quiet url :7000 tail url :7001');
      // Long enough for the answer, also if the server is held up.
      await hold(host, 'silent', 'TCP:127.0.0.1:7000');
      const ended = /reset 1 session on which no byte moved for 6 s \(--idle-timeout\)/;
      await host.waitFor(async () => ended.test(await journal(host, 'quiet')), {
        what: 'the end of the session',
      });
      assert.is(await heard(host, 'silent'), 'silent\n');
      await host.waitFor(async () => / 0 open, /.test(await succeeds(host, 'list')), {
        what: 'its end in list',
      });
      const [link] = JSON.parse(await succeeds(host, 'list --json'));
      assert.is(link.counters.timedOut, 1);
      await host.run('systemctl stop silent');
      await succeeds(host, 'delete quiet');
    });

    test('sessions that are more than a lowered limit continue, again and again, and --keepalive reaches them', async () => {
      const host = at();
      await succeeds(host, 'create id lowered url :7000 tail url :7001');
      const clients = ['c1', 'c2', 'c3', 'c4', 'c5'];
      for (const unit of clients) await hold(host, unit, 'TCP:127.0.0.1:7000');
      for (const unit of clients) await answered(host, unit);
      const sessions = async () =>
        (await host.run('ss -Htno state established "( sport = :7000 or dport = :7001 )"')).stdout
          .trim()
          .split('\n');
      // Sessions that are older than a second continue.
      await host.run('sleep 1.5');
      await succeeds(
        host,
        'create --replace --max-connections 2 --keepalive 1m id lowered url :7000 tail url :7001',
      );
      for (let restart = 0; restart < 2; restart++) {
        await host.run('sleep 1.5; systemctl restart wormhole-lowered.service');
        const lines = await sessions();
        assert.is(lines.length, 2 * clients.length, lines.join('\n'));
        for (const line of lines) assert.match(line, /timer:\(keepalive,/);
      }
      assert.not.match(await journal(host, 'lowered'), /reset \d+ open/);
      for (const unit of clients) await host.run(`systemctl stop ${unit}`);
      await succeeds(host, 'delete lowered');
      await leavesNothing(host);
    });

    test('what a limit cannot apply to is refused with one line', async () => {
      const host = at();
      for (const [args, message] of [
        [
          'create --rate 5 url udp://:53 tail url :54',
          /--rate "5" is for a head of tcp:\/\/ or unix:\/\/, and the link has none/,
        ],
        [
          'create --max-per-source 5 url unix:///run/x.sock tail url :54',
          /--max-per-source "5" is for a tcp:\/\/ head, and the link has none/,
        ],
        [
          'create --max-connections 0 url :53 tail url :54',
          /--max-connections "0": expected a number from 1 to 1000000/,
        ],
        ['create --idle-timeout 2d url :53 tail url :54', /--idle-timeout "2d": expected a span of time/],
        [
          'create --keepalive 10h url :53 tail url :54',
          /--keepalive "10h": expected a span of time from 1s to 9h6m7s/,
        ],
      ] as const)
        await fails(host, args, message, 2);
      await leavesNothing(host);
    });
  },
);
