import * as assert from 'uvu/assert';
import { onlyOurs, running } from './containers.ts';
import { fails, installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import { labSuite } from './suite.ts';

/** A small server that answers each connection with its container's boot number and a line of the client's. */
const SERVER = `docker-run "wormhole/tools sh -c 'echo x >> /starts; exec socat -t 60 TCP-LISTEN:7000,fork,reuseaddr SYSTEM:\\"read line; wc -l < /starts\\"'"`;

labSuite(
  'on demand: any image',
  () => installedHost({ name: 'sleepers' }),
  (test, at) => {
    test('50 clients at once at a sleeping link: one container, 50 answers', async () => {
      const host = at();
      await succeeds(host, `create id crowd url :7000 idle 1h trigger ${SERVER}`);
      const { stdout } = await host.run(
        `seq 50 | xargs -P 50 -I{} sh -c 'echo {} | timeout 60 nc 127.0.0.1 7000'`,
        { timeout: 120 },
      );
      assert.is(stdout, '1\n'.repeat(50));
      assert.is(await running(host), 'wormhole-crowd\nwormhole-crowd-netns\n');
    });

    test('a child is open in the container before its program can run', async () => {
      const host = at();
      const early = `sh -c 'echo early | nc -N 127.0.0.1 7002 > /got; exec socat TCP-LISTEN:7001,fork,reuseaddr SYSTEM:"cat /got"'`;
      await host.run(
        'systemd-run --unit backend socat -t 60 TCP-LISTEN:7002,bind=127.0.0.1,fork,reuseaddr EXEC:cat',
      );
      await succeeds(
        host,
        `create id early url :7001 trigger docker-run "wormhole/tools ${early.replaceAll('"', '\\"')}" child url :7002 tail url :7002`,
      );
      assert.is(
        (await host.run('timeout 100 nc 127.0.0.1 7001 </dev/null', { check: false })).stdout,
        'early\n',
      );
      await succeeds(host, 'delete early');
    });

    test('a database that takes ten seconds to begin is simply slow once', async () => {
      const host = at();
      await succeeds(
        host,
        `create id slow url :7003 trigger docker-run "wormhole/tools sh -c 'sleep 10; exec socat TCP-LISTEN:7003,fork,reuseaddr SYSTEM:\\"read line; date\\"'"`,
      );
      assert.match((await host.run('echo | timeout 60 nc 127.0.0.1 7003')).stdout, /20\d\d/);
      const started = await host.container('wormhole-slow').inspect('{{.State.StartedAt}}');
      assert.match((await host.run('echo | timeout 60 nc 127.0.0.1 7003')).stdout, /20\d\d/);
      assert.is(await host.container('wormhole-slow').inspect('{{.State.StartedAt}}'), started);
      await succeeds(host, 'delete slow');
    });

    const failures: [string, string, RegExp][] = [
      [
        'a container that ends at once',
        `"wormhole/tools sh -c 'echo no such file >&2; exit 3'"`,
        /status 3.*no such file/,
      ],
      ['a command that is not there', '"wormhole/tools nosuchcommand"', /nosuchcommand/],
    ];
    for (const [what, args, why] of failures) {
      test(`${what}: clients are closed, one line says why, and the next connection tries again`, async () => {
        const host = at();
        await succeeds(host, `create id broken url :7004 trigger docker-run ${args}`);
        // One that came after the failure would cause another attempt, which is told again.
        const dropIn = '/run/systemd/system/wormhole-broken-run.service.d';
        await host.run(
          `rm -f /run/all-wait; mkdir -p ${dropIn}; printf '[Service]\\nExecStartPre=+/bin/sh -c "until test -e /run/all-wait; do sleep 0.1; done"\\n' >${dropIn}/wait.conf; systemctl daemon-reload`,
        );
        const clients = Array.from({ length: 5 }, () =>
          host.run('echo | timeout 100 nc 127.0.0.1 7004', { check: false }),
        );
        await host.waitFor(
          async () => (await host.run('ss -Htn state established dport = :7004 | wc -l')).stdout === '5\n',
          { what: 'all clients to wait' },
        );
        await host.run('touch /run/all-wait');
        for (const { stdout, status } of await Promise.all(clients)) {
          assert.is(stdout, '');
          assert.not.equal(status, 124, 'the client was not closed');
        }
        const journal = await host.journal('-b', '-o', 'cat', '-t', 'wormhole-broken-run');
        const lines = journal
          .trim()
          .split('\n')
          .filter((line) => why.test(line));
        assert.is(lines.length, 1, journal);
        assert.match(lines[0] as string, /link broken.*next connection tries again/);
        await host.run('echo | timeout 100 nc 127.0.0.1 7004', { check: false });
        const again = await host.journal('-b', '-o', 'cat', '-t', 'wormhole-broken-run');
        assert.is(
          again
            .trim()
            .split('\n')
            .filter((line) => why.test(line)).length,
          2,
          again,
        );
        assert.match(await succeeds(host, 'list'), /^broken .*failed to start its container/m);
        await host.run(`rm -r ${dropIn}; systemctl daemon-reload`);
        await succeeds(host, 'delete broken');
      });
    }

    test('a port that never opens: closed after the start timeout', async () => {
      const host = at();
      await succeeds(host, 'create --start-timeout 3s id never url :7005 trigger docker-run wormhole/tools');
      const began = Date.now();
      const { stdout, status } = await host.run('echo | timeout 60 nc 127.0.0.1 7005', { check: false });
      assert.is(stdout, '');
      assert.not.equal(status, 124);
      assert.ok(Date.now() - began >= 3_000);
      assert.match(
        await host.journal('-b', '-o', 'cat', '-t', 'wormhole-never'),
        /127\.0\.0\.1:7005.*refused for 3 s/,
      );
      await succeeds(host, 'delete never');
    });

    test('a HEALTHCHECK is waited for', async () => {
      const host = at();
      await host.run(
        `printf 'FROM wormhole/tools\\nHEALTHCHECK --interval=1s --retries=20 CMD test -e /ready\\nCMD sh -c "(sleep 4; touch /ready) & exec socat TCP-LISTEN:7006,fork,reuseaddr SYSTEM:\\\\"read line; test -e /ready \\\\&\\\\& echo ready\\\\""\\n' > /root/Dockerfile; cat /root/Dockerfile; docker build -q -t healthy - < /root/Dockerfile`,
        { timeout: 120 },
      );
      await succeeds(host, 'create id healthy url :7006 trigger docker-run healthy');
      assert.is((await host.run('echo | timeout 60 nc 127.0.0.1 7006')).stdout, 'ready\n');
      await succeeds(host, 'delete healthy');
    });

    test('an image that is not there: create says so and leaves nothing', async () => {
      const host = at();
      await fails(
        host,
        'create --pull never id none url :7007 trigger docker-run nosuch/image',
        /image "nosuch\/image".*is missing/,
      );
      await fails(
        host,
        'create id none url :7007 trigger docker-run 127.0.0.1:5000/nosuch',
        /127\.0\.0\.1:5000\/nosuch/,
      );
      assert.is(
        (await host.run('ls /etc/systemd/system | grep -c wormhole-none', { check: false })).stdout,
        '0\n',
      );
    });

    test('a missing image is pulled at create, and at a trigger while the client is held', async () => {
      const host = at();
      await host.run(
        `printf 'version: 0.1\\nstorage:\\n  filesystem:\\n    rootdirectory: /var/lib/registry\\nhttp:\\n  addr: 127.0.0.1:5000\\n' > /root/registry.yml
        systemd-run --unit registry docker-registry serve /root/registry.yml`,
      );
      await host.waitFor(() => host.run('curl -sf 127.0.0.1:5000/v2/'), { what: 'the registry to answer' });
      const image = '127.0.0.1:5000/tools';
      const forget = `docker rmi -f wormhole/tools ${image}`;
      await host.run(`docker tag wormhole/tools ${image} && docker push -q ${image} && docker rmi ${image}`);
      await host.run('docker save wormhole/tools > /root/tools.tar');
      await host.run(forget);

      const recipe = `id pulled url :7012 idle 2s trigger ${SERVER.replace('7000', '7012').replace('wormhole/tools', image)}`;
      const created = await wormhole(host, `create ${recipe}`);
      assert.is(created.stdout, 'pulled tcp://127.0.0.1:7012\n');
      assert.match(created.stderr, /^wormhole: pulling 127\.0\.0\.1:5000\/tools/m);
      await host.run(`docker image inspect ${image}`);
      assert.is((await host.run('echo | timeout 60 nc 127.0.0.1 7012')).stdout, '1\n');

      await succeeds(host, 'delete pulled');
      const again = await wormhole(host, `create ${recipe}`);
      assert.is(again.stderr, '', 'nothing is pulled that is there');
      await host.run(forget);
      assert.is((await host.run('echo | timeout 60 nc 127.0.0.1 7012')).stdout, '1\n');
      const journal = await host.journal('-b', '-o', 'cat', '-t', 'wormhole-pulled-run');
      assert.match(journal, /link pulled: pulling 127\.0\.0\.1:5000\/tools; clients wait/);
      assert.match(journal, /link pulled: pulled 127\.0\.0\.1:5000\/tools/);
      await succeeds(host, 'delete pulled');

      await host.run(forget);
      await host.run(['tee', '/root/create.sh'], { input: `wormhole create ${recipe}\n` });
      const drawn = await host.run('script -qec "stty cols 120; sh /root/create.sh" /dev/null');
      assert.match(drawn.stdout, /[█░]+ pulling 127\.0\.0\.1:5000\/tools/, 'a bar on a terminal');
      await succeeds(host, 'delete pulled');
      await host.run('docker load -q < /root/tools.tar');
    });

    test('the engine is down: the client is closed with a line that says so, and served when it is back', async () => {
      const host = at();
      await succeeds(host, `create id down url :7008 trigger ${SERVER.replace('7000', '7008')}`);
      await host.run('systemctl stop docker docker.socket', { timeout: 60 });
      const { stdout, status } = await host.run('echo | timeout 100 nc 127.0.0.1 7008', { check: false });
      assert.is(stdout, '');
      assert.not.equal(status, 124);
      assert.match(await host.journal('-b', '-o', 'cat', '-t', 'wormhole-down-run'), /Docker is not running/);
      await host.run('systemctl start docker', { timeout: 120 });
      assert.match((await host.run('echo | timeout 60 nc 127.0.0.1 7008')).stdout, /^\d+\n$/);
      await succeeds(host, 'delete down');
    });

    test('kill -9 of the forwarder, and of the run service at any moment', async () => {
      const host = at();
      await succeeds(host, `create id hardy url :7009 idle 2s trigger ${SERVER.replace('7000', '7009')}`);
      for (let i = 0; i < 6; i++) {
        await host.waitFor(
          async () =>
            (await host.run('systemctl is-active wormhole-hardy-run.service', { check: false })).stdout !==
            'active\n',
          {
            timeout: 40,
            what: 'the link to sleep',
          },
        );
        const client = host.run('echo | timeout 60 nc 127.0.0.1 7009', { check: false });
        await host.run(`sleep 0.${i + 1}; systemctl kill -s KILL wormhole-hardy-run.service`, {
          check: false,
        });
        assert.match((await client).stdout, /^\d+\n$/, `killed after 0.${i + 1} s`);
        await host.run('systemctl kill -s KILL wormhole-hardy.service', { check: false });
        assert.match((await host.run('echo | timeout 60 nc 127.0.0.1 7009')).stdout, /^\d+\n$/);
        await onlyOurs(host);
      }
      await succeeds(host, 'delete hardy');
    });

    test('a session outlives the forwarder, and the container runs on meanwhile; then both end', async () => {
      const host = at();
      await succeeds(
        host,
        'create id lasting url :7015 idle 2s trigger docker-run "wormhole/tools socat TCP-LISTEN:7015,fork,reuseaddr EXEC:cat"',
      );
      const session = host.spawn('exec socat - TCP:127.0.0.1:7015');
      const says = async (line: string): Promise<void> => {
        session.write(`${line}\n`);
        await host.waitFor(() => session.stdout().endsWith(`${line}\n`), { what: `the answer to "${line}"` });
      };
      await says('before');
      await host.waitFor(
        async () =>
          (await host.run('systemctl show -P NFileDescriptorStore wormhole-lasting.service')).stdout !==
          '0\n',
        { what: 'the session to be stored' },
      );
      const started = await host.container('wormhole-lasting').inspect('{{.State.StartedAt}}');
      for (const end of ['kill -s KILL', 'restart', 'kill -s KILL']) {
        await host.run(`systemctl ${end} wormhole-lasting.service`);
        await says(`after ${end}`);
      }
      assert.is(await host.container('wormhole-lasting').inspect('{{.State.StartedAt}}'), started);
      session.end();
      assert.is((await session.exited).status, 0);
      await host.waitFor(
        async () =>
          (await host.container('wormhole-lasting').inspect('{{.State.Running}}')) === 'false' &&
          (await host.run('systemctl is-active wormhole-lasting.service', { check: false })).stdout ===
            'inactive\n',
        { timeout: 40, what: 'the link to sleep' },
      );
      await succeeds(host, 'delete lasting');
    });

    test('trigger docker-ns starts a container that is stopped, and with idle stops it again', async () => {
      const host = at();
      await host.run(
        'docker create --name mine wormhole/tools socat TCP-LISTEN:7010,fork,reuseaddr SYSTEM:"read line; cat /etc/hostname"',
      );
      await succeeds(host, 'create id mine url :7010 idle 3s trigger docker-ns mine');
      const hostname = await host.container('mine').inspect('{{.Config.Hostname}}');
      for (let i = 0; i < 2; i++) {
        assert.is((await host.run('echo | timeout 100 nc 127.0.0.1 7010')).stdout, `${hostname}\n`);
        await host.waitFor(
          async () => (await host.container('mine').inspect('{{.State.Running}}')) === 'false',
          {
            timeout: 40,
            what: 'the container to be stopped again',
          },
        );
      }
      await succeeds(host, 'delete mine');
      assert.is(
        await host.container('mine').inspect('{{.State.Status}}'),
        'exited',
        'it is not ours to remove',
      );
    });

    test('--name names the container, which is found, stopped and removed by that name', async () => {
      const host = at();
      const recipe = `url :7013 idle 2s trigger ${SERVER.replace('7000', '7013').replace('"wormhole', '"--name web wormhole')}`;
      await succeeds(host, `create id named ${recipe}`);
      const client = host.spawn('nc -N 127.0.0.1 7013');
      await host.waitFor(async () => /^web$/m.test(await running(host)), { what: 'web to run' });
      client.write('\n');
      client.end();
      assert.is((await client.exited).stdout, '1\n');
      await fails(
        host,
        `create id other ${recipe.replace('7013', '7014')}`,
        /--name "web": there is a container of that name/,
      );
      await host.waitFor(async () => !(await running(host)).includes('web'), {
        timeout: 30,
        what: 'web to be stopped',
      });
      assert.is((await host.run('echo | timeout 100 nc 127.0.0.1 7013')).stdout, '2\n');
      await succeeds(host, 'delete named');
      assert.is((await host.run('docker ps -aq --filter name=web')).stdout, '');
    });

    test('docker-run without trigger runs from create on, and is there after a reboot', async () => {
      const host = at();
      await succeeds(host, `create id always url :7011 tail ${SERVER.replace('7000', '7011')}`);
      assert.match(await running(host), /^wormhole-always$/m);
      assert.is((await host.run('echo | timeout 100 nc 127.0.0.1 7011')).stdout, '1\n');
      await host.reboot();
      assert.is((await host.run('echo | timeout 100 nc 127.0.0.1 7011')).stdout, '2\n');
      await succeeds(host, 'delete always');
    });

    test('deleting all leaves nothing', async () => {
      const host = at();
      for (const { id } of JSON.parse(await succeeds(host, 'list --json')))
        await succeeds(host, `delete ${id}`);
      await leavesNothing(host);
      assert.is((await host.run('docker ps -aq --filter label=wormhole.link')).stdout, '');
    });
  },
);
