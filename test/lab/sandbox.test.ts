import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/**
 * How exposed each service is, as `systemd-analyze security` of systemd 252 rates it: 0 is best, 10 is worst, an ordinary service has
 * 9.6. A forwarder runs as a user of its own. The others run as root (0.4), since systemd and the engine obey root alone.
 */
const EXPOSURE: Record<string, number> = {
  // Forwarders: JIT (0.1), and what a relay is there for: the network (0.9) and the socket to systemd (0.1).
  'wormhole-host.service': 1.0,
  'wormhole-inside.service': 1.0,
  // It makes sockets of both families; with a umask that lets everyone read the figures (0.1), that is enough for the next tenth.
  'wormhole-away.service': 1.1,
  'wormhole-named.service': 1.1,
  // It hears strangers, and makes sockets of both families to DNS servers anywhere.
  'wormhole-names@named.service': 1.1,
  'wormhole-runs.service': 1.0,
  // The front of a link with several tails makes no socket but unix ones, and hands its clients to forwarders like those above.
  'wormhole-several.service': 0.6,
  'wormhole-several-to-127.0.0.1-7000.service': 1.0,
  'wormhole-several-to-db.service': 1.0,
  // They look into /proc/PID/ns (0.3).
  'wormhole-runs-run.service': 1.0,
  // The files of --env-file may be anyone's, and anywhere.
  'wormhole-secret-run.service': 1.4,
  'wormhole-secret.service': 1.0,
  'wormhole-sync.service': 1.0,
  'wormhole-sync-again.service': 1.0,
  'wormhole-health@host.service': 0.7,
  // As wormholed, and files of anyone besides.
  'wormhole-apply.service': 2.5,
  'wormhole-apply-again.service': 0.5,
  // Units, and namespaces of containers.
  'wormhole-labels.service': 1.7,
  'wormhole-labels-again.service': 1.7,
  // It mounts namespaces where everybody sees them, and so can have no mount namespace of its own.
  'wormhole-netns@db.service': 3.4,
  // These talk to other machines (0.9 and more), and hand keys and policies to the kernel (0.3).
  'wormhole-far.service': 2.0,
  // It changes links and has other machines create their parts, as wormholed does.
  'wormhole-services@_all.service': 2.0,
  // It talks to etcd, which may be anywhere, and reads files that only root can.
  'wormhole-services-register.service': 1.7,
  'wormhole-tunnel-guard.service': 1.4,
  'wormhole-tunnel-rekey@beta.service': 1.9,
  'wormhole-tunnel-udp.service': 2.0,
  // All of the above but mounting, and descriptors of other processes (0.2).
  'wormholed.service': 2.3,
  // It has no namespace of mounts, which could fail as that of the forwarder does.
  'wormhole-start-failure@host.service': 2.8,
  'wormholed-key.service': 0.5,
  // It answers on sockets that are not its own, and its network has nothing else.
  'wormholed-web.service': 0.5,
  'wormhole-metrics.service': 0.6,
  'wormhole-metrics-write.service': 0.9,
  'wormhole-counters.service': 0.7,
  'wormhole-counters-save.service': 0.7,
};

/** The services of Wormhole that a host has: of templates, the instances in question. */
async function services(host: Host): Promise<string[]> {
  const { stdout } = await host.run('cd /etc/systemd/system && ls -d wormhole*.service');
  return stdout
    .trim()
    .split('\n')
    .map((name) =>
      name
        .replace('netns@.', 'netns@db.')
        .replace('rekey@.', 'rekey@beta.')
        .replace('failure@.', 'failure@host.')
        .replace('services@.', 'services@_all.')
        .replace('health@.', 'health@host.'),
    );
}

labSuite<{ host: Host; neighbour: Host }>(
  'sandboxes',
  async () => {
    const host = await installedHost({ name: 'sandbox' });
    const neighbour = await boot({ name: 'neighbour', docker: false });
    await host.run(
      'docker run -d --name db --network none wormhole/tools socat -t 60 TCP-LISTEN:7000,fork,reuseaddr EXEC:hostname',
    );
    return { host, neighbour };
  },
  (test, at) => {
    test('each service is as exposed as its work requires, and not more', async () => {
      const { host } = at();
      await host.run('echo A=b >/root/env');
      for (const recipe of [
        'id host url :7001 tail url :7000',
        'id inside url :7002 tail url :7000 docker-ns db',
        'id away url :7003 trigger remote nobody tail',
        'id named url :7011 tail url db.example.com:7000',
        'id several url :7012 tail url :7000 or url :7000 docker-ns db',
        'id runs url :7004 trigger docker-run wormhole/tools',
        "id secret url :7005 trigger docker-run '--env-file /root/env wormhole/tools'",
      ])
        await succeeds(host, `create ${recipe}`);
      const rated: Record<string, number> = {};
      for (const unit of await services(host)) {
        const { stdout } = await host.run(`systemd-analyze security --no-pager ${unit}`);
        rated[unit] = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]);
      }
      assert.equal(rated, EXPOSURE);
    });

    test('no service leaves a core dump, and a forwarder takes neither all memory nor all processes', async () => {
      const { host } = at();
      const show = (property: string, unit: string) => host.run(`systemctl show -P ${property} ${unit}`);
      for (const unit of await services(host)) {
        assert.is((await show('LimitCORE', unit)).stdout, '0\n', unit);
        assert.is((await show('LimitCORESoft', unit)).stdout, '0\n', unit);
      }
      assert.match((await show('MemoryMax', 'wormhole-host.service')).stdout, /^\d+$/m);
      assert.is((await show('TasksMax', 'wormhole-host.service')).stdout, '32\n');
    });

    test('commands of an administrator whose umask is 077 make links that work', async () => {
      const { host } = at();
      assert.is(
        (await host.run('nc -N 127.0.0.1 7002 </dev/null')).stdout,
        `${await host.container('db').inspect('{{.Config.Hostname}}')}\n`,
      );
      // The machine of one of them is not there.
      for (const id of ['host', 'inside', 'away', 'named', 'several', 'runs', 'secret'])
        await wormhole(host, `delete ${id}`);
      await host.run('systemctl stop wormhole-far.timer wormhole-far.service');
      await host.run('rm -rf /run/wormhole /var/lib/wormhole');
      await host.run('umask 077; wormhole create id careful url :7002 tail url :7000 docker-ns db');
      assert.is.not((await host.run('nc -N 127.0.0.1 7002 </dev/null')).stdout, '');
      const listed = await host.run('setpriv --reuid nobody --regid nogroup --clear-groups wormhole list');
      assert.match(listed.stdout, /^careful .* connected /m);
      assert.is((await host.run('stat -c %a /etc/systemd/system/wormhole-careful.socket')).stdout, '644\n');
      await succeeds(host, 'delete careful');
    });

    test('a link to a port that Docker publishes at an address of this host, which NAT carries into a container', async () => {
      const { host } = at();
      await host.run(
        'docker run -d --name published -p 8080:7000 wormhole/tools socat -t 60 TCP-LISTEN:7000,fork,reuseaddr EXEC:hostname',
      );
      const name = await host.container('published').inspect('{{.Config.Hostname}}');
      const ask = async (seconds = 60) =>
        (await host.run(`timeout ${seconds} nc -N 127.0.0.1 7006 </dev/null`, { check: false, timeout: 90 }))
          .stdout;
      // Docker accepts for the container also before that listens.
      const direct = async () =>
        (await host.run(`nc -N ${host.address} 8080 </dev/null`, { check: false })).stdout;
      await host.waitFor(async () => (await direct()) === `${name}\n`, { what: 'the container to listen' });
      await succeeds(host, `create id nat url :7006 tail url ${host.address}:8080`);
      assert.is(await ask(), `${name}\n`);
      // Why its address is not all that is let through: the kernel shows the filter what NAT has made of it.
      const dropIn = '/run/systemd/system/wormhole-nat.service.d';
      await host.run(
        `mkdir ${dropIn}; cat >${dropIn}/exact.conf; systemctl daemon-reload; systemctl stop wormhole-nat.service`,
        {
          input: `[Service]\nIPAddressDeny=any\nIPAddressAllow=${host.address}\n`,
        },
      );
      assert.is(await ask(5), '');
      await host.run(`rm -r ${dropIn}; systemctl daemon-reload`);
      await succeeds(host, 'delete nat');
      await host.run('docker rm -f published');
    });

    test('a head on the loopback interface is for its own namespace, even where the kernel routes to it', async () => {
      const { host, neighbour } = at();
      await host.run(
        'systemd-run --unit plain socat -t 60 TCP-LISTEN:7007,bind=127.7.7.7,fork,reuseaddr EXEC:hostname',
      );
      await succeeds(host, 'create id loop url 127.7.7.7:7008 tail url 127.7.7.7:7007');
      // As kube-proxy sets it, and Docker without its userland proxy; and a neighbour who knows that.
      await host.run('sysctl -qw net.ipv4.conf.eth0.route_localnet=1');
      await neighbour.run(`
        sysctl -qw net.ipv4.conf.eth0.route_localnet=1
        ip rule add pref 100 lookup local && ip rule del pref 0
        ip rule add pref 1 to 127.7.7.7 lookup 77 && ip route add 127.7.7.7/32 via ${host.address} dev eth0 src ${neighbour.address} table 77`);
      const ask = async (port: number) =>
        (
          await neighbour.run(`timeout 4 nc -N -s ${neighbour.address} 127.7.7.7 ${port} </dev/null`, {
            check: false,
          })
        ).stdout;
      await host.waitFor(async () => (await ask(7007)) === 'sandbox\n', {
        what: 'an ordinary service, which is open to it',
      });
      assert.is(await ask(7008), '');
      assert.is((await host.run('nc -N 127.7.7.7 7008 </dev/null')).stdout, 'sandbox\n');
      await succeeds(host, 'delete loop');
      // A forwarder of a link that is created now is not limited to its target on the loopback interface, from which NAT may lead away.
      assert.match(
        await succeeds(host, 'create --dry-run url :7009 tail url :7010'),
        /^IPAddressDeny=link-local multicast$/m,
      );
      await host.run(
        'sysctl -qw net.ipv4.conf.eth0.route_localnet=0; systemctl stop plain; systemctl reset-failed plain',
      );
    });

    test('nothing is left', async () => {
      const { host } = at();
      await host.run('docker rm -f db');
      await leavesNothing(host);
      assert.is(await host.failedUnits(), '');
    });
  },
);
