import * as assert from 'uvu/assert';
import { call, done, failing, starting } from './docker-calls.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

labSuite(
  'what docker-run is told',
  () => boot({ name: 'options' }),
  (test, at) => {
    /** Starts a run `o`, has `check` look at it, and removes it. */
    const during = async (
      args: string,
      check: (inside: (command: string) => Promise<string>) => Promise<void>,
    ) => {
      const host = at();
      await done(host, starting('o', args));
      try {
        await check(async (command) => (await host.container('wormhole-o').run(command)).stdout.trim());
      } finally {
        await done(host, `await removeRun({ name: 'o', link: 'link' })`);
      }
    };

    test('environment: files first, then -e', async () => {
      await at().run(`printf '# a comment\\n\\nA=file\\nB=a "b" $c \\n' > /root/env`);
      await during(`-e A=option -e 'C=two words' --env-file /root/env wormhole/tools`, async (inside) => {
        assert.is(await inside('echo "$A|$B|$C"'), 'option|a "b" $c |two words');
      });
      await at().run(`printf 'A=1\\nB\\n' > /root/env`);
      const start = starting('o', '--env-file /root/env wormhole/tools');
      assert.is(await failing(at(), start), 'Error: --env-file "/root/env", line 2: write NAME=VALUE');
      const missing = starting('o', '--env-file /root/none wormhole/tools');
      assert.is(await failing(at(), missing), 'Error: --env-file "/root/none" cannot be read: ENOENT');
      await done(at(), `await removeRun({ name: 'o', link: 'link' })`);
    });

    test('volumes, mounts and tmpfs', async () => {
      const host = at();
      await host.run('mkdir -p /srv/a && echo from-host > /srv/a/file');
      const args = [
        '-v /srv/a:/ro:ro -v /srv/a:/rw -v named:/named -v /anonymous --tmpfs /tmp1:size=1m',
        '--mount type=bind,src=/srv/a,dst=/bound,readonly --mount type=tmpfs,dst=/tmp2,tmpfs-size=2m,tmpfs-mode=1700',
        '--mount src=named,dst=/same wormhole/tools',
      ].join(' ');
      await during(args, async (inside) => {
        assert.is(await inside('cat /ro/file /bound/file'), 'from-host\nfrom-host');
        for (const path of ['/ro', '/bound'])
          assert.match(await inside(`touch ${path}/x 2>&1 || true`), /Read-only/);
        await inside('echo changed > /rw/file; echo shared > /named/x; touch /anonymous/x');
        assert.is((await host.run('cat /srv/a/file')).stdout, 'changed\n');
        assert.is(await inside('cat /same/x'), 'shared');
        assert.match(await inside('df -k /tmp1 | tail -n 1'), /\b1024\b/);
        assert.match(await inside('df -k /tmp2 | tail -n 1'), /\b2048\b/);
        assert.match(await inside('ls -ld /tmp2'), /^drwx-----T/);
      });
      assert.is((await host.run('docker volume ls -q | grep -v ^wormhole-')).stdout, 'named\n');
    });

    test('ports, also of one address, of udp and of a range', async () => {
      const host = at();
      const serve = `sh -c 'socat TCP-LISTEN:80,fork,reuseaddr EXEC:"echo tcp" & socat TCP-LISTEN:81,fork,reuseaddr EXEC:"echo two" & socat UDP-LISTEN:53,fork SYSTEM:"read line; echo udp"'`;
      const args = `-p 127.0.0.1:8080:80 -p 8180-8181:80-81 -p 5353:53/udp wormhole/tools ${serve}`;
      await during(args, async () => {
        const ask = (command: string) =>
          host.waitFor(async () => (await host.run(command, { check: false })).stdout.trim(), {
            what: command,
            timeout: 10,
          });
        assert.is(await ask('nc -N 127.0.0.1 8080 < /dev/null'), 'tcp');
        assert.is(await ask(`nc -N ${host.address} 8180 < /dev/null`), 'tcp');
        assert.is(await ask(`nc -N ${host.address} 8181 < /dev/null`), 'two');
        assert.is(await ask(`echo q | nc -u -w 1 ${host.address} 5353`), 'udp');
        assert.is((await host.run(`nc -N ${host.address} 8080 < /dev/null`, { check: false })).status, 1);
      });
    });

    test('host name, hosts and name servers', async () => {
      const args = '-h db.example --add-host other:10.9.8.7 --dns 10.0.0.53 wormhole/tools';
      await during(args, async (inside) => {
        assert.is(await inside('hostname'), 'db.example');
        assert.match(await inside('cat /etc/hosts'), /^10\.9\.8\.7\s+other$/m);
        assert.match(await inside('cat /etc/resolv.conf'), /^nameserver 10\.0\.0\.53$/m);
      });
    });

    test('networks: none, host, one of the users', async () => {
      const host = at();
      await during('--network none wormhole/tools', async (inside) => {
        assert.is(await inside('ls /sys/class/net'), 'lo');
      });
      await during('--network host wormhole/tools', async (inside) => {
        assert.match(
          await inside('ip -4 -o addr show eth0'),
          new RegExp(host.address.replaceAll('.', '\\.')),
        );
      });
      await host.run('docker network create mine');
      const untilItListens = 'retry=300,interval=0.1';
      await during(`--network mine wormhole/tools socat TCP-LISTEN:80,fork EXEC:"echo here"`, async () => {
        for (const name of ['o', 'wormhole-o']) {
          const { stdout } = await host.run(
            `docker run --rm --network mine wormhole/tools socat -u TCP:${name}:80,${untilItListens} -`,
          );
          assert.is(stdout, 'here\n', name);
        }
      });
      const named = '--name web3 --network mine wormhole/tools socat TCP-LISTEN:80,fork EXEC:"echo here"';
      await done(host, starting('o', named));
      const answer = await host.run(
        `docker run --rm --network mine wormhole/tools socat -u TCP:web3:80,${untilItListens} -`,
      );
      assert.is(answer.stdout, 'here\n', 'the name that was said');
      await done(host, `await removeRun({ name: 'o', link: 'link', said: 'web3' })`);
      await host.run('docker network rm mine');
      const start = starting('o', '--network mine wormhole/tools');
      assert.match(
        await failing(host, start),
        /^Error: no docker network "mine": docker network create mine$/,
      );
      await done(host, `await removeRun({ name: 'o', link: 'link' })`);
    });

    test('user, directory, entry point, label', async () => {
      await during(
        '-u 1000:1001 -w /srv -l a.b=c --entrypoint sh wormhole/tools -c "sleep 1000"',
        async (inside) => {
          assert.is(await inside('id -u; id -g; pwd'), '1000\n1001\n/srv');
          assert.is(
            await inspected(at(), '{{index .Config.Labels "a.b"}} {{json .Config.Entrypoint}}'),
            'c ["sh"]',
          );
        },
      );
    });

    test('rights', async () => {
      const bounds = 'grep CapBnd /proc/self/status';
      await during('--cap-drop ALL --cap-add net_admin wormhole/tools', async (inside) => {
        assert.match(await inside(bounds), /0000000000001000$/);
      });
      // Where the lab itself has not all rights, it can be made and not started.
      await call(at(), starting('o', '--privileged wormhole/tools'));
      assert.is(await inspected(at(), '{{.HostConfig.Privileged}}'), 'true');
      await done(at(), `await removeRun({ name: 'o', link: 'link' })`);
      await during('--read-only --init wormhole/tools', async (inside) => {
        assert.match(await inside('touch /x 2>&1 || true'), /Read-only/);
        assert.match(await inside('cat /proc/1/cmdline'), /init/);
      });
    });

    test('a container that ends with an error is started again as --restart says', async () => {
      const host = at();
      await host.run('mkdir -p /srv/count && rm -f /srv/count/*');
      const command = `sh -c 'echo x >> /c/runs; exit 3'`;
      await done(host, starting('o', `--restart on-failure:2 -v /srv/count:/c wormhole/tools ${command}`));
      await host.waitFor(async () => (await inspected(host, '{{.State.Status}}')) === 'exited', {
        what: 'it to end',
        timeout: 20,
      });
      assert.is((await host.run('cat /srv/count/runs')).stdout, 'x\nx\nx\n');
      await done(host, `await removeRun({ name: 'o', link: 'link' })`);
    });
  },
);

async function inspected(host: Host, format: string): Promise<string> {
  return (await host.run(['docker', 'inspect', '-f', format, 'wormhole-o'])).stdout.trim();
}
