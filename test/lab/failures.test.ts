import * as assert from 'uvu/assert';
import type { Listing } from '../../src/api/listing-schema.js';
import { installedHost, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* What an operator sees while clients fail. */

labSuite(
  'clients that fail',
  () => installedHost({ name: 'failures' }),
  (test, at) => {
    test('a target that refuses: list says how often, since when and why, until a client is served', async () => {
      const host = at();
      await succeeds(host, 'create id dead url :3000 tail url :4199');
      await host.run('for i in 1 2 3; do echo | nc 127.0.0.1 3000 & done; wait', { check: false });
      assert.match(
        await succeeds(host, 'list'),
        /^dead .* failing 127\.0\.0\.1:4199 on this host refused for 5 s \(ECONNREFUSED: connection refused\), 3 times since \d\d:\d\d$/m,
      );
      const { counters } = await listed(host, 'dead');
      assert.equal([counters?.served, counters?.unserved, counters?.failing?.count], [0, 3, 3]);
      // The status is told at most once a second.
      await host.waitFor(
        async () =>
          /Status: "0 open, 0 served, \d+ B; failing, 3 clients closed"/.test(
            (await host.run('systemctl status --no-pager wormhole-dead.service')).stdout,
          ),
        { what: 'the status of the service' },
      );
      await host.run(
        `systemd-run --unit late socat TCP-LISTEN:4199,bind=127.0.0.1,fork,reuseaddr SYSTEM:'echo here'`,
      );
      assert.is((await host.run('nc 127.0.0.1 3000')).stdout, 'here\n');
      assert.match(await succeeds(host, 'list'), /^dead .* connected \d open, 1 served, \d B$/m);
      const { counters: after } = await listed(host, 'dead');
      assert.equal([after?.served, after?.unserved, after?.bytesFromTarget], [1, 3, 5]);
      assert.is(after?.failing, undefined);
    });

    test('list shows the failure also when the forwarder has ended, and to a user who is not root', async () => {
      const host = at();
      await host.run('systemctl stop late.service');
      await host.run('echo | nc 127.0.0.1 3000', { check: false });
      await host.run('systemctl stop wormhole-dead.service');
      assert.match(
        (await host.run('setpriv --reuid=65534 --clear-groups wormhole list')).stdout,
        /^dead .* failing 127\.0\.0\.1:4199 on this host refused .*, once since /m,
      );
      await host.reboot();
      await host.run('echo | nc 127.0.0.1 3000', { check: false });
      assert.match(
        (await host.run('setpriv --reuid=65534 --clear-groups wormhole list')).stdout,
        /^dead .* failing 127\.0\.0\.1:4199 on this host refused .*, 2 times since /m,
      );
      await succeeds(host, 'delete dead');
      assert.is((await host.run('ls /run/wormhole/counters')).stdout, '');
    });

    const dropIn = '/etc/systemd/system/wormhole-box.service.d';
    const faulty = (setting: string) =>
      `mkdir ${dropIn}; printf '[Service]\\n${setting}\\n' >${dropIn}/faulty.conf; systemctl daemon-reload`;
    const repaired = `rm -r ${dropIn}; systemctl daemon-reload`;
    for (const [what, breaks, repairs] of [
      ['a sandbox that cannot be set up', faulty('BindReadOnlyPaths=/nowhere'), repaired],
      ['a program that Node does not load', faulty('Environment=NODE_OPTIONS=--nonsense'), repaired],
      ['a Node that dies at once', faulty('LimitAS=200M'), repaired],
      // Any user can see to that.
      [
        'a sandbox that has no inodes left',
        'mount -t tmpfs -o nr_inodes=60,mode=1777 tmpfs /tmp; for i in $(seq 60); do : >/tmp/$i || break; done',
        'umount /tmp',
      ],
    ] as const)
      test(`${what} is tried a few times a second, and its client is served when it can be`, async () => {
        const host = at();
        await host.run(
          'systemd-run -q --collect --unit target socat TCP-LISTEN:7100,fork,reuseaddr EXEC:cat',
        );
        await succeeds(host, 'create id box url :7200 tail url :7100');
        await host.run(breaks);
        const since = (await host.run('date +@%s')).stdout.trim();
        const client = host.spawn('exec nc 127.0.0.1 7200');
        client.write('here\n');
        const starts = `journalctl --since=${since} -u wormhole-box.service | grep -c 'Main process exited'`;
        await host.waitFor(async () => Number((await host.run(starts, { check: false })).stdout) > 1, {
          what: 'another start',
        });
        // By the clock of the host. Without a delay it is up to a hundred times a second.
        const { stdout } = await host.run(
          `tell() { ${starts}; cut -d' ' -f1 /proc/uptime; }; tell; sleep 4; tell`,
        );
        const [before = 0, from = 0, after = 0, until = 0] = stdout.split('\n').map(Number);
        assert.ok(after > before, stdout);
        assert.ok((after - before) / (until - from) < 6, stdout);
        await host.run(repairs);
        await host.waitFor(() => client.stdout() === 'here\n', { what: 'the client to be served' });
        await client.stop();
        await succeeds(host, 'delete box');
        await host.run('systemctl stop target');
      });

    test('a link that cannot start and is stopped, or is repaired and started, has failed no longer', async () => {
      const host = at();
      const failed = async () =>
        (await host.run("systemctl list-units --failed --plain --no-legend 'wormhole-*box*'")).stdout;
      await succeeds(host, 'create id box url :7200 tail url :7100');
      await host.run(faulty('BindReadOnlyPaths=/nowhere'));
      await host.run('nc -w 1 127.0.0.1 7200 </dev/null', { check: false });
      await host.waitFor(async () => (await failed()).startsWith('wormhole-box.service '), {
        what: 'the forwarder to fail',
      });
      await succeeds(host, 'stop box');
      assert.is(await failed(), '');
      await succeeds(host, 'start box');
      await host.run('nc -w 1 127.0.0.1 7200 </dev/null', { check: false });
      await host.waitFor(async () => (await failed()) !== '', { what: 'the forwarder to fail again' });
      await host.run(repaired);
      await succeeds(host, 'upgrade box');
      assert.is(await failed(), '');
      await succeeds(host, 'delete box');
    });

    for (const [name, check, options] of [
      ['sick', 'false', '--retries=2'],
      ['slow', 'false', '--retries=1000'],
    ] as const) {
      const what = name === 'sick' ? 'is unhealthy' : 'never becomes healthy';
      test(`a container that ${what}: its clients are closed though it accepts, and list and journal agree`, async () => {
        const host = at();
        await host.run(
          `printf 'FROM wormhole/tools\\nHEALTHCHECK --interval=1s ${options} CMD ${check}\\nCMD socat TCP-LISTEN:7000,fork,reuseaddr SYSTEM:"echo hello"\\n' | docker build -q -t ${name} -`,
          { timeout: 120 },
        );
        await succeeds(
          host,
          `create --start-timeout ${name === 'sick' ? 60 : 10}s id ${name} url :7000 trigger docker-run ${name}`,
        );
        const answers: string[] = [];
        for (let i = 0; i < 3; i++)
          answers.push((await host.run('timeout 60 nc 127.0.0.1 7000', { check: false })).stdout);
        assert.equal(answers, ['', '', '']);
        const journal = await host.journal('-b', '-o', 'cat', '-u', `wormhole-${name}*`);
        assert.match(journal, new RegExp(`link ${name}: .*healthy.*Waiting clients are closed`));
        assert.match(
          journal,
          new RegExp(
            `could not be started: see journalctl -u wormhole-${name}-run\\.service; closed the client`,
          ),
        );
        assert.match(
          await succeeds(host, 'list'),
          new RegExp(
            `^${name} .* failed to start its container: see journalctl -u wormhole-${name}-run.service$`,
            'm',
          ),
        );
        await succeeds(host, `delete ${name}`);
      });
    }
  },
);

async function listed(host: Host, id: string): Promise<Listing['links'][number]> {
  const links: Listing['links'] = JSON.parse(await succeeds(host, 'list --json'));
  const link = links.find((candidate) => candidate.id === id);
  assert.ok(link, `link ${id}`);
  return link;
}
