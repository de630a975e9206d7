import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import type { Running } from './rig/shell.ts';
import { labSuite } from './suite.ts';

/*
 * Hosts of the lab have systemd 252. Later ones differ in what a restart is: since 254, OnFailure= holds for each one unless
 * RestartMode=direct, and the service itself keeps descriptors while it is restarted. The whole lab runs on one of those with
 * WORMHOLE_LAB_RELEASE=trixie.
 */

const SERVICE = 'wormhole-box.service';

labSuite(
  'systemd later than 254',
  () => installedHost({ name: 'newer', docker: false, release: 'trixie' }),
  (test, at) => {
    test('it accepts each unit as it is', async () => {
      const host = at();
      const [, version] = /^systemd (\d+) /.exec((await host.run('systemctl --version')).stdout) ?? [];
      assert.ok(Number(version) >= 254, `systemd ${version}`);
      await host.run('systemd-run -q --unit target socat -t 60 TCP-LISTEN:7100,fork,reuseaddr EXEC:cat');
      await succeeds(host, 'create id box url :7200 tail url :7100');
      assert.is((await host.run(`systemctl show -P RestartMode ${SERVICE}`)).stdout, 'direct\n');
      const { stdout } = await host.run(
        `cd /etc/systemd/system; systemd-analyze verify --man=no wormhole-box.* ${SERVICE} 2>&1`,
        { check: false },
      );
      assert.is(stdout, '');
    });

    test('create, stop, start and delete leave no unit of the machine that needs a daemon-reload', async () => {
      const host = at();
      await host.run('systemctl daemon-reload');
      for (const command of [
        'create id other url :7201 tail url :7100',
        'stop other',
        'start other',
        'delete other',
      ]) {
        await succeeds(host, command);
        const { stdout } = await host.run(
          'systemctl show -P NeedDaemonReload dbus.service wormhole-box.socket',
        );
        assert.is(stdout, 'no\n\nno\n', command);
      }
      assert.is(await succeeds(host, 'doctor'), 'nothing wrong');
      // Any program may have it so.
      await host.run('systemctl enable -q --no-reload systemd-networkd.service');
      assert.is((await host.run('systemctl show -P NeedDaemonReload wormhole-box.socket')).stdout, 'yes\n');
      assert.is(await succeeds(host, 'doctor'), 'nothing wrong');
      await host.run('systemctl disable -q systemd-networkd.service');
    });

    test('a session outlives kills, restarts and daemon-reexec, and no kill waits for the delay of a failed start', async () => {
      const host = at();
      const session = await opensSession(host);
      for (const [number, end] of [
        `systemctl kill -s KILL ${SERVICE}`,
        `systemctl kill -s ABRT ${SERVICE}`,
        `systemctl restart ${SERVICE}`,
        `systemctl daemon-reexec; systemctl kill -s KILL ${SERVICE}`,
      ].entries()) {
        await host.run(end);
        await says(host, session, `after end ${number}`);
      }
      const journal = await host.journal('-b', '-o', 'cat', '-u', 'wormhole-*');
      assert.is(journal.match(/took over 1 open session/g)?.length, 4, journal);
      assert.not.match(journal, /wormhole-start-failure@/);
      await session.stop();
    });

    test('a forwarder that cannot start is tried a few times a second, and its client is served when it can', async () => {
      const host = at();
      const dropIn = '/etc/systemd/system/wormhole-box.service.d';
      await host.run(
        `systemctl stop ${SERVICE}; mkdir ${dropIn}
         printf '[Service]\\nBindReadOnlyPaths=/nowhere\\n' >${dropIn}/faulty.conf; systemctl daemon-reload`,
      );
      const client = host.spawn('exec nc 127.0.0.1 7200');
      client.write('here\n');
      const starts = `journalctl -b -o cat -u ${SERVICE} | grep -c 'status=226/NAMESPACE$'`;
      await host.waitFor(async () => Number((await host.run(starts, { check: false })).stdout) > 2, {
        what: 'several starts',
      });
      // By the clock of the host. Without a delay it is up to a hundred times a second.
      const { stdout } = await host.run(
        `tell() { ${starts}; cut -d' ' -f1 /proc/uptime; }; tell; sleep 3; tell`,
      );
      const [before = 0, from = 0, after = 0, until = 0] = stdout.split('\n').map(Number);
      assert.ok(after > before, stdout);
      assert.ok((after - before) / (until - from) < 6, stdout);
      await host.run(`rm -r ${dropIn}; systemctl daemon-reload`);
      await host.waitFor(() => client.stdout() === 'here\n', { what: 'the client to be served' });
      await client.stop();
      await succeeds(host, 'delete box');
      await host.run('systemctl stop target');
      await leavesNothing(host);
    });
  },
);

/** A client of the link, whose session is stored. */
async function opensSession(host: Host): Promise<Running> {
  const session = host.spawn('exec nc 127.0.0.1 7200');
  await says(host, session, 'hello');
  const isStored = async () =>
    Number((await host.run(`systemctl show -P NFileDescriptorStore ${SERVICE}`)).stdout) > 0;
  await host.waitFor(isStored, { what: 'the session to be stored' });
  return session;
}

/** Sends a line, and waits until it has come back. */
async function says(host: Host, session: Running, line: string): Promise<void> {
  session.write(`${line}\n`);
  await host.waitFor(() => session.stdout().endsWith(`${line}\n`), { what: `the answer to "${line}"` });
}
