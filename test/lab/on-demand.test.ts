import * as assert from 'uvu/assert';
import { onlyOurs, running } from './containers.ts';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

const EXAMPLE =
  'create url :80 idle 8s trigger docker-run wormhole/wordpress child url :3306 trigger docker-run wormhole/mysql';

labSuite(
  'on demand: WordPress and its database',
  () => installedHost({ name: 'demand' }),
  (test, at) => {
    test('the example makes a sleeping link: nothing runs', async () => {
      const host = at();
      assert.is(await succeeds(host, EXAMPLE), '80 tcp://127.0.0.1:80');
      assert.is(await running(host), '');
      assert.match(await succeeds(host, 'list'), /^80 .*sleeping$/m);
      assert.match(await succeeds(host, 'list'), /^80-3306 .*sleeping$/m);
    });

    test('the very first request is held, and answered with the page of WordPress', async () => {
      const host = at();
      await page(host);
      assert.is(
        await running(host),
        'wormhole-80\nwormhole-80-3306\nwormhole-80-3306-netns\nwormhole-80-netns\n',
      );
    });

    test('the dependencies draw the recipe', async () => {
      const host = at();
      const tree = (await host.run('systemctl list-dependencies --plain --all wormhole-80.service')).stdout;
      for (const unit of [
        'wormhole-80.socket',
        'wormhole-80-run.service',
        'wormhole-netns@run:80.service',
        'wormhole-80-3306.socket',
      ]) {
        assert.ok(tree.includes(unit), `${unit} in\n${tree}`);
      }
    });

    test('idle: the tree is stopped again, the client before its database, and memory goes back', async () => {
      const host = at();
      await asleep(host);
      const stops = (await host.journal('-b', '-o', 'cat', '-u', 'wormhole-80*'))
        .split('\n')
        .filter((line) => line.startsWith('Stopped') || line.startsWith('Closed'));
      const order = ['wormhole-80-run.service', 'wormhole-80-3306.socket'].map((unit) =>
        stops.findIndex((line) => line.includes(unit)),
      );
      assert.ok((order[0] as number) >= 0 && (order[0] as number) < (order[1] as number), stops.join('\n'));
      assert.is((await host.run('pgrep -x "apache2|mariadbd"', { check: false })).stdout, '');
      const holders = await host.run(
        "docker ps -a --filter label=wormhole.role=netns --format '{{.Status}}'",
      );
      const statuses = holders.stdout.trim().split('\n');
      assert.is(statuses.length, 2);
      for (const status of statuses) assert.match(status, /^Exited \(0\)/);
    });

    test('it comes back with its data on the next connection', async () => {
      const host = at();
      const containers = 'docker ps -aq --no-trunc --filter label=wormhole.link=80';
      const before = (await host.run(containers)).stdout;
      await page(host);
      assert.is((await host.run(containers)).stdout, before, 'the same containers');
    });

    test('a connection that arrives while the tree stops is served', async () => {
      const host = at();
      for (let i = 0; i < 3; i++) {
        await host.waitFor(
          async () => {
            // Looked at from there, and often: it takes a fraction of a second.
            const command = `until state=$(systemctl is-active wormhole-80-run.service); [ $state != active ]; do sleep 0.05; done; echo $state`;
            const state = (await host.run(command)).stdout;
            // Missed: it has to be used again.
            if (state === 'inactive\n') await page(host);
            return state === 'deactivating\n';
          },
          {
            timeout: 40,
            what: 'the container to be stopped',
          },
        );
        await page(host);
      }
    });

    test('rm -f of the running container heals on the next connection', async () => {
      const host = at();
      await page(host);
      await host.run('docker rm -f wormhole-80');
      await page(host);
      await host.run('docker rm -f wormhole-80-3306');
      await page(host);
      // Without the holders, the namespaces themselves are gone, and with them whoever is connected at that moment.
      await host.run('docker rm -f wormhole-80-netns wormhole-80-3306-netns');
      // Until that is noticed, a container answers in the namespace that it is still in.
      const healed = () => page(host).then(() => onlyOurs(host));
      await host.waitFor(() => healed().then(() => true), { timeout: 60, what: 'the link to heal' });
    });

    test('dockerd restarted: the next connection is served, without a second copy', async () => {
      const host = at();
      await page(host);
      await host.run('systemctl restart docker', { timeout: 120 });
      // Whoever connects while the engine's end is being noticed is closed.
      await host.waitFor(() => page(host).then(() => true), { timeout: 20, what: 'the link to recover' });
      await onlyOurs(host);
    });

    test('a reboot brings back a sleeping link, which wakes up', async () => {
      const host = at();
      await page(host);
      await host.reboot();
      assert.is(await running(host), '');
      await page(host);
      await onlyOurs(host);
    });

    test('delete removes containers, children and units', async () => {
      const host = at();
      await page(host);
      await succeeds(host, 'delete 80');
      await leavesNothing(host);
      assert.is((await host.run('docker ps -aq')).stdout, '');
      assert.is((await host.run('docker volume ls -q')).stdout, '');
    });

    test('without idle the containers stay until delete', async () => {
      const host = at();
      const recipe =
        'url :80 trigger docker-run wormhole/wordpress child url :3306 trigger docker-run wormhole/mysql';
      assert.is(await succeeds(host, `create ${recipe}`), '80 tcp://127.0.0.1:80');
      assert.is(await running(host), '');
      await page(host);
      // What the forwarders do after a minute without a connection.
      await host.run('systemctl stop wormhole-80.service wormhole-80-3306.service; sleep 3');
      assert.match(await running(host), /^wormhole-80$/m);
      assert.match(await running(host), /^wormhole-80-3306$/m);
      await page(host);
      await succeeds(host, 'delete 80');
      await leavesNothing(host);
      assert.is(await running(host), '');
    });
  },
);

/** Asks once, as a person would with curl. The redirect is WordPress's: it has reached its database and is not set up. */
async function page(host: Host): Promise<void> {
  const { stdout } = await host.run(
    'curl -sS -m 100 -o /dev/null -w "%{http_code} %{redirect_url}" http://127.0.0.1/',
    { timeout: 120 },
  );
  assert.is(stdout, '302 http://127.0.0.1/wp-admin/install.php');
}

async function asleep(host: Host): Promise<void> {
  await host.waitFor(async () => (await running(host)) === '', {
    timeout: 60,
    what: 'all containers to be stopped',
  });
}
