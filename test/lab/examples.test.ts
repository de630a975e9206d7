import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

const QUERY = `mysql -u root -h 127.0.0.1 -N -e 'select 6 * 7'`;

labSuite(
  'the examples of the README',
  () => installedHost({ name: 'one' }),
  (test, at) => {
    test('1: the host reaches a database that has no network', async () => {
      const host = at();
      await host.run('docker run -d --restart always --network none --name mysql wormhole/mysql');
      const id = (await host.run('docker inspect -f {{.Id}} mysql')).stdout.trim();
      assert.is(
        await succeeds(host, `create url :3306 docker-ns tail docker-ns ${id}`),
        '3306 tcp://127.0.0.1:3306',
      );
      await queried(host);
    });

    test('1: nothing of ours runs before the first connection, one forwarder after it', async () => {
      const host = at();
      await host.run('systemctl stop wormhole-3306.service');
      await host.waitFor(
        async () => (await host.run(`pgrep -f '[d]ist/(forwarder|wormhole)' || true`)).stdout === '',
        {
          timeout: 10,
          what: 'wormhole-sync.service, which the new container has started, to end',
        },
      );
      await queried(host);
      assert.match((await host.run('pgrep -fc [d]ist/forwarder.cjs')).stdout, /^1\n$/);
    });

    test('2: WordPress finds its database at 127.0.0.1:3306 of its own namespace', async () => {
      const host = at();
      await host.run('docker run -d --restart always --network none --name app wormhole/wordpress');
      assert.is(
        await succeeds(host, 'create url :3306 docker-ns app tail docker-ns mysql'),
        '3306-app tcp://127.0.0.1:3306',
      );
      await installationPage(host);
    });

    test('a chain is two links', async () => {
      const host = at();
      await host.run(
        'systemd-run --unit echo socat -t 20 TCP-LISTEN:9002,bind=127.0.0.1,fork,reuseaddr EXEC:cat',
      );
      assert.is(
        await succeeds(host, 'create url :9000 chain url :9001 tail url :9002'),
        '9000 tcp://127.0.0.1:9000',
      );
      assert.is((await host.run('echo round | nc -N 127.0.0.1 9000')).stdout, 'round\n');
      assert.is((await host.run('echo halfway | nc -N 127.0.0.1 9001')).stdout, 'halfway\n');
      const tree = (await host.run('systemctl list-dependencies --plain wormhole-9000.service')).stdout;
      assert.match(tree, /wormhole-9000\.socket/);
      assert.match(tree, /wormhole-9000-9001\.socket/);
      await succeeds(host, 'delete 9000');
    });

    test("a named netns, IPv6 and an id of one's own", async () => {
      const host = at();
      await host.run('ip netns add blue && ip -n blue link set lo up');
      await host.run(
        'systemd-run --unit six -p NetworkNamespacePath=/run/netns/blue socat -t 20 TCP6-LISTEN:80,bind=[::1],fork,reuseaddr EXEC:cat',
      );
      assert.is(
        await succeeds(host, 'create id six url [::1]:8080 tail url blue@[::1]:80'),
        'six tcp://[::1]:8080',
      );
      assert.is((await host.run('echo six | nc -6 -N ::1 8080')).stdout, 'six\n');
      assert.is(
        await succeeds(host, 'create url blue@:81 tail url :9002'),
        '81-blue tcp://blue@127.0.0.1:81',
      );
      assert.is((await host.run('echo out | ip netns exec blue nc -N 127.0.0.1 81')).stdout, 'out\n');
    });

    test('a head without a port gets one that is free, and keeps it', async () => {
      const host = at();
      const [id, url] = (await succeeds(host, 'create url 127.0.0.2 tail url :9002')).split(' ');
      assert.match(url as string, new RegExp(`^tcp://127.0.0.2:${id}$`));
      assert.is((await host.run(`echo free | nc -N 127.0.0.2 ${id}`)).stdout, 'free\n');
    });

    test('list tells where each link goes, as a table and as JSON', async () => {
      const host = at();
      const table = await succeeds(host, 'list');
      assert.match(table, /^ID +HEAD +TAIL +STATE$/m);
      assert.match(
        table,
        /^3306-app +tcp:\/\/127.0.0.1:3306 in container app +tcp:\/\/127.0.0.1:3306 in container mysql +\w+/m,
      );
      // The forwarder reports at most once a second.
      const reported = /^six +tcp:\/\/\[::1\]:8080 +tcp:\/\/blue@\[::1\]:80 +connected 0 open, 1 served/m;
      await host.waitFor(async () => reported.test(await succeeds(host, 'list')), {
        timeout: 10,
        what: 'list to tell that the client has gone',
      });
      const json = JSON.parse(await succeeds(host, 'list --json'));
      const six = json.find((link: { id: string }) => link.id === 'six');
      assert.equal(six.head, { url: 'tcp://[::1]:8080', place: 'this host' });
      assert.equal(six.tail, { url: 'tcp://blue@[::1]:80', place: 'netns blue' });
      assert.is(six.recipe, `id six url 'tcp://[::1]:8080' tail url 'tcp://blue@[::1]:80'`);
    });

    test('--dry-run prints the files that create writes, and changes nothing', async () => {
      const host = at();
      const before = (await host.run('ls -la --time-style=full-iso /etc/systemd/system')).stdout;
      const plan = await succeeds(
        host,
        'create --dry-run id dry url :3307 docker-ns app tail docker-ns mysql',
      );
      assert.is((await host.run('ls -la --time-style=full-iso /etc/systemd/system')).stdout, before);
      await succeeds(host, 'create id dry url :3307 docker-ns app tail docker-ns mysql');
      const written = await host.run(
        'cd /etc/systemd/system; for f in wormhole-dry.socket wormhole-dry.service; do echo "### $PWD/$f"; cat $f; echo; done',
      );
      assert.is(plan, written.stdout.trim());
      await succeeds(host, 'delete dry');
    });

    test('after a reboot both examples answer with nothing typed', async () => {
      const host = at();
      await host.reboot();
      await queried(host);
      await installationPage(host);
    });

    test('after a power cut too', async () => {
      const host = at();
      await host.crash();
      await host.start();
      await installationPage(host);
      await queried(host);
    });

    test('deleting every link leaves nothing', async () => {
      const host = at();
      for (const { id } of JSON.parse(await succeeds(host, 'list --json')))
        await succeeds(host, `delete ${id}`);
      await leavesNothing(host);
    });
  },
);

async function queried(host: Host): Promise<void> {
  const answer = await host.waitFor(async () => (await host.run(QUERY, { check: false })).stdout, {
    timeout: 60,
    what: 'MariaDB to answer through the link',
  });
  assert.is(answer, '42\n');
}

/** Apache serves it only when it has reached the database. */
async function installationPage(host: Host): Promise<void> {
  const page = await host.waitFor(
    async () => {
      const { stdout } = await host
        .container('app')
        .runInNetwork('curl -sL http://127.0.0.1/wp-admin/install.php', { check: false });
      return stdout.includes('WordPress &rsaquo; Installation') && stdout;
    },
    { timeout: 60, what: "WordPress's installation page" },
  );
  assert.not.match(page as string, /Error establishing a database connection/);
}
