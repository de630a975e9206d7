import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import { listens } from './listening.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* Tails in containers with a HEALTHCHECK, which decides about new clients of a link that has --check. */

/**
 * A server that says its name and goes on to send back what it gets, also to a client that sends nothing, however slow the machine
 * is. It is ill as long as its container has a file /ill.
 */
const server = (name: string, options = ''): string =>
  `docker run -d --network none --name ${name} --hostname ${name} --health-cmd 'test ! -e /ill || { echo fever; exit 1; }' \\
     --health-interval 1s --health-retries 1 ${options} wormhole/tools socat -t 20 TCP-LISTEN:80,fork,reuseaddr SYSTEM:'uname -n; cat'`;

async function ask(host: Host, port: number): Promise<string> {
  return (await host.run(`nc -N -w 50 127.0.0.1 ${port} </dev/null`, { check: false, timeout: 60 })).stdout;
}

labSuite(
  'tails that have a health check',
  () => installedHost({ name: 'health' }),
  (test, at) => {
    const said = (text: RegExp, what: string) =>
      at().waitFor(async () => text.test(await at().journal('-t', 'wormhole-health')), { timeout: 60, what });
    const serves = async (name: string) => {
      for (let n = 0; n < 3; n++) assert.is(await ask(at(), 8000), `${name}\n`);
    };

    test('a container that becomes unhealthy gets no new client, keeps its sessions, and gets clients when it is healthy again', async () => {
      const host = at();
      for (const name of ['one', 'two']) {
        await host.run(server(name));
        await listens(host, 80, { container: name });
      }
      await succeeds(
        host,
        'create --balance first --check 1s id h idle 20s url :8000 tail url :80 docker-ns one or url :80 docker-ns two',
      );
      await host.run(`
        mkfifo /run/in
        systemd-run -q --unit session sh -c 'exec nc 127.0.0.1 8000 <>/run/in >/run/out'
        until [ -s /run/out ]; do sleep 0.1; done`);
      assert.is((await host.run('cat /run/out')).stdout, 'one\n');
      await host.run(
        `until [ "$(docker inspect -f '{{.State.Health.Status}}' one two | sort -u)" = healthy ]; do sleep 0.2; done`,
      );
      await serves('one');

      // It goes on accepting: a connection alone would not tell.
      await host.run('docker exec one touch /ill');
      await said(
        /link h: container one is unhealthy \("fever"\); new clients go to the other tails/,
        'the illness',
      );
      await serves('two');
      assert.match(await succeeds(host, 'list'), /^h-to-one .* not healthy\b/m);
      assert.match(await succeeds(host, 'show h'), /not healthy/);
      await host.run('echo still >/run/in; until grep -q still /run/out; do sleep 0.1; done');
      await host.run('docker exec one rm /ill');
      await said(/link h: container one is healthy; it gets clients again/, 'the recovery');
      await serves('one');
      assert.not.match(await succeeds(host, 'list'), /not healthy/);
      await host.run('systemctl stop session');
    });

    test('when all are unhealthy, clients are served all the same', async () => {
      const host = at();
      for (const name of ['one', 'two']) await host.run(`docker exec ${name} touch /ill`);
      await host.waitFor(
        async () =>
          (await host.run('cat /run/wormhole/links/h/unhealthy')).stdout === 'one\ntwo\n' ||
          (await ask(host, 8000)) === '',
        { timeout: 60, what: 'both to be unhealthy' },
      );
      await serves('one');
      await host.run('docker exec two rm /ill');
      await host.waitFor(async () => (await ask(host, 8000)) === 'two\n', {
        timeout: 60,
        what: 'two to get clients',
      });
    });

    test('a container that is created again gets clients once it is healthy', async () => {
      const host = at();
      await host.run('docker rm -f one');
      await serves('two');
      // Checks that fail say nothing of its health while it is starting.
      await host.run(
        `${server('one', '--health-start-period 1h').replace('run -d', 'create')} && touch /run/ill && docker cp /run/ill one:/ill && docker start one`,
      );
      await said(/link h: container one is not healthy yet/, 'the container to be noticed');
      await serves('two');
      await host.run('docker exec one rm /ill');
      await host.waitFor(async () => (await ask(host, 8000)) === 'one\n', {
        timeout: 60,
        what: 'one to get clients',
      });
      assert.is((await host.run("docker inspect -f '{{.State.Health.Status}}' one")).stdout, 'healthy\n');
    });

    test('what follows the health is started again when it is killed, and runs only while the link is in use', async () => {
      const host = at();
      await host.run('systemctl kill -s KILL wormhole-health@h.service; docker exec one touch /ill');
      await host.waitFor(async () => (await ask(host, 8000)) === 'two\n', {
        timeout: 60,
        what: 'two to get clients',
      });
      const isActive = async () =>
        (await host.run('systemctl is-active wormhole-health@h.service', { check: false })).stdout.trim();
      assert.is(await isActive(), 'active');
      await host.waitFor(async () => (await isActive()) === 'inactive', {
        timeout: 60,
        what: 'the link to sleep',
      });
      assert.is(await host.failedUnits(), '');
      // It is asked again for the next client.
      await host.run('docker exec one rm /ill');
      await host.waitFor(async () => (await ask(host, 8000)) === 'one\n', {
        timeout: 60,
        what: 'one to get clients',
      });
    });

    test('without --check, and without containers, nothing follows', async () => {
      const host = at();
      await succeeds(host, 'create id n url :8001 tail url :80 docker-ns one or url :80 docker-ns two');
      await succeeds(host, 'create --check 1s id p url :8002 tail url :81 or url :82');
      const wants = 'systemctl show -P Wants wormhole-n.service wormhole-p.service';
      assert.not.match((await host.run(wants)).stdout, /health/);
      assert.match(
        (await host.run('systemctl show -P Wants wormhole-h.service')).stdout,
        /wormhole-health@h.service/,
      );
    });

    test('deleting leaves nothing', async () => {
      const host = at();
      await succeeds(host, 'delete h n p');
      await leavesNothing(host);
    });
  },
);
