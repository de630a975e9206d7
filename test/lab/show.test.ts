import { setTimeout } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import type { LinkDetails } from '../../src/api/listing-schema.js';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* What `wormhole show` says of a link, beside what others say of it. */

labSuite(
  'show',
  () => installedHost({ name: 'show' }),
  (test, at) => {
    test('sessions are those that ss shows, with their bytes', async () => {
      const host = at();
      await host.run(
        'docker run -d --name back --network none wormhole/tools socat TCP-LISTEN:7000,fork,reuseaddr EXEC:cat',
      );
      await host.run('docker run -d --name front --network bridge wormhole/tools sleep infinity');
      await succeeds(host, 'create url :3306 docker-ns front tail url :7000 docker-ns back');
      const began = performance.now();
      await host.run(
        `for i in 1 2 3; do systemd-run --unit client$i sh -c "(head -c $((i * 1000)) /dev/zero; sleep 600) | docker exec -i front nc 127.0.0.1 3306"; done`,
      );
      const link = await showWhen(host, '3306-front', ({ sessions = [] }) => {
        const received = sessions.map(({ bytesFromTarget }) => bytesFromTarget).sort();
        return JSON.stringify(received) === '[1000,2000,3000]';
      });
      const seenWithin = performance.now() - began;
      const sessions = link.sessions ?? [];
      // The sockets of the forwarder at the head: their other ends, and what they have received and sent.
      const { stdout } = await host.run(
        `nsenter --net=/run/wormhole/netns/front ss -tniOH state established sport = :3306`,
      );
      const seen = stdout
        .trim()
        .split('\n')
        .map((line) => {
          const [, client = ''] = /:3306 +(\S+)/.exec(line) ?? [];
          const bytes = (name: string) => Number(new RegExp(`${name}:(\\d+)`).exec(line)?.[1] ?? 0);
          return `${client} ${bytes('bytes_received')} ${bytes('bytes_acked')}`;
        });
      assert.equal(
        sessions
          .map(
            ({ client, bytesFromClient, bytesFromTarget }) =>
              `${client} ${bytesFromClient} ${bytesFromTarget}`,
          )
          .sort(),
        seen.sort(),
      );
      await setTimeout(1_000);
      const { sessions: later = [] } = await showWhen(host, '3306-front', () => true);
      const between = performance.now() - began;
      for (const { client, target, ageMs, idleMs } of sessions) {
        assert.is(target, '127.0.0.1:7000');
        assert.ok(
          idleMs <= ageMs && ageMs <= seenWithin,
          `${idleMs} of ${ageMs} ms, seen within ${seenWithin}`,
        );
        const aged = (later.find((session) => session.client === client)?.ageMs ?? 0) - ageMs;
        assert.ok(aged >= 999 && aged <= between, `${aged} ms older within ${between} ms`);
      }
      assert.is(link.link.counters?.open, 3);
      const address = (
        await host.run(`docker inspect -f '{{.NetworkSettings.Networks.bridge.IPAddress}}' front`)
      ).stdout.trim();
      const [front, back] = link.namespaces;
      assert.is(front?.place, 'container front');
      assert.ok(front?.addresses.includes(address) && front.addresses.includes('127.0.0.1'));
      assert.equal(back, { place: 'container back', addresses: ['127.0.0.1'] });
      for (const { name, active, sub } of link.units)
        assert.equal(
          `${active}\n${sub}\n`,
          (await host.run(`systemctl show -P ActiveState -P SubState ${name}`)).stdout.replace(/\n\n/g, '\n'),
          name,
        );
      assert.equal(
        link.units.map(({ name }) => name),
        [
          'wormhole-3306-front.socket',
          'wormhole-3306-front.service',
          'wormhole-netns@front.service',
          'wormhole-netns@back.service',
        ],
      );
    });

    test('another machine tells the same through its daemon', async () => {
      const host = at();
      const own = await show(host, '3306-front');
      const remote: LinkDetails = JSON.parse(
        await succeeds(host, '-H unix:///run/wormhole.sock show --json 3306-front'),
      );
      const stable = ({ sessions = [], ...details }: LinkDetails) => ({
        ...{ units: details.units, namespaces: details.namespaces, link: details.link.counters },
        sessions: sessions.map(({ client, bytesFromClient }) => `${client} ${bytesFromClient}`),
      });
      assert.equal(stable(remote), stable(own));
      assert.is(remote.sessions?.length, 3);
      await fails(host, '-H unix:///run/wormhole.sock show nothing', /no link "nothing": see wormhole list/);
    });

    test('sessions and their ages survive a forwarder that is killed', async () => {
      const host = at();
      const before = (await show(host, '3306-front')).sessions ?? [];
      await host.run('systemctl kill -s KILL wormhole-3306-front.service');
      const { sessions: after = [] } = await showWhen(
        host,
        '3306-front',
        ({ sessions = [] }) => sessions.length === 3,
      );
      assert.equal(
        after.map(({ client }) => client),
        before.map(({ client }) => client),
      );
      assert.ok(after.every(({ ageMs }, at) => ageMs >= (before[at]?.ageMs ?? 0)));
    });

    test('the text has all of it, and nothing that acts on the terminal', async () => {
      const host = at();
      await host.run(
        `printf 'MESSAGE=evil \\033[2J\\nSYSLOG_IDENTIFIER=evil\\nOBJECT_SYSTEMD_UNIT=wormhole-3306-front.service\\n' | logger --journald; journalctl --sync`,
      );
      const text = await succeeds(host, 'show 3306-front');
      assert.match(
        text,
        /^3306-front {2}tcp:\/\/127\.0\.0\.1:3306 in container front ══▶ tcp:\/\/127\.0\.0\.1:7000 in container back {2}connected$/m,
      );
      assert.match(text, /^recipe {2}id 3306-front url tcp:/m);
      assert.match(text, /^wormhole-3306-front\.socket +active \(running\) +(\S+ )?\d\d:\d\d$/m);
      assert.match(text, /^container front +127\.0\.0\.1 172\./m);
      assert.match(text, /^sessions +3 open, 3 served, 0\.0 new\/s$/m);
      assert.match(text, /^from clients +6 kB, 0 B\/s$/m);
      // The tests before may have taken a minute.
      assert.match(text, /^127\.0\.0\.1:\d+ +127\.0\.0\.1:7000 +[\d.]+ (ms|s|min) .* +3 kB +3 kB$/m);
      assert.match(
        text,
        /^(\S+ )?\d\d:\d\d wormhole-3306-front: link 3306-front: took over 3 open sessions$/m,
      );
      assert.match(text, /^(\S+ )?\d\d:\d\d evil: evil \ufffd\[2J$/m);
      await host.run('systemctl stop client1 client2 client3');
    });

    test('rates are those of a stream that flows', async () => {
      const host = at();
      await host.run(
        `systemd-run --unit sink socat -u TCP-LISTEN:7100,bind=127.0.0.1,fork,reuseaddr OPEN:/dev/null`,
      );
      await succeeds(host, 'create id flow url :7101 tail url :7100');
      await host.run(
        `systemd-run --unit flow sh -c 'while :; do head -c 100000; sleep 0.1; done </dev/zero | nc 127.0.0.1 7101'`,
      );
      // The first interval may have only the beginning of it, and a busy machine sends less than one chunk each 0.1 s.
      const { rates } = await showWhen(
        host,
        'flow',
        (details) => (details.rates?.bytesFromClients ?? 0) >= 50_000,
      );
      assert.is(rates?.bytesFromTarget, 0);
      await host.run('systemctl stop flow');
    });

    test('a recipe of several links is drawn as a tree, and none of them is started', async () => {
      const host = at();
      await succeeds(
        host,
        'create id web url :80 trigger docker-run "wormhole/tools sleep infinity" child url :3306 trigger docker-run "wormhole/tools sleep infinity"',
      );
      const text = await succeeds(host, 'show web');
      assert.match(text, /^web {2}tcp:.* ══▶ .* in the container of link web {2}sleeping \*$/m);
      assert.match(text, /^└─ \S+ {2}tcp:\/\/127\.0\.0\.1:3306 in .* ══▶ .*sleeping$/m);
      assert.match(text, /^wormhole-web\.service +inactive \(dead\)/m);
      assert.match(text, /^no client yet$/m);
      for (let i = 0; i < 3; i++) await succeeds(host, 'show web');
      assert.is(
        (
          await host.run('systemctl is-active wormhole-web.service wormhole-web-run.service', {
            check: false,
          })
        ).stdout,
        'inactive\ninactive\n',
      );
      assert.is((await host.run('docker ps -aq --filter name=wormhole-web')).stdout, '');
    });

    test('the options that a link was created with are as they are typed', async () => {
      const host = at();
      const typed = '--start-timeout 2m --max-connections 50 --rate 9 --mode 660 --proxy-protocol=v1';
      await succeeds(host, `create ${typed} id limited url unix:///run/limited.sock tail url :7100`);
      const { link } = await show(host, 'limited');
      assert.equal(link.options, {
        ...{ startTimeout: 120, maxConnections: 50, rate: 9, socketMode: '660', proxyProtocol: 'v1' },
      });
      for (const way of ['', '-H unix:///run/wormhole.sock '])
        assert.ok(
          (await succeeds(host, `${way}show limited`)).split('\n').includes(`options  ${typed}`),
          `${way}show`,
        );
      assert.is((await show(host, 'flow')).link.options, undefined);
      assert.not.match(await succeeds(host, 'show flow'), /^options/m);
    });

    test('a user who is not root sees what is open to all', async () => {
      const host = at();
      const { stdout } = await host.run(
        'setpriv --reuid=65534 --clear-groups wormhole show --json 3306-front',
      );
      const details: LinkDetails = JSON.parse(stdout);
      assert.is(details.link.counters?.served, 3);
      assert.is(details.sessions, undefined);
      await fails(host, 'show nothing', /^wormhole: no link "nothing": see wormhole list/);
      await succeeds(host, 'delete --all');
      await host.run('docker rm -f front back');
      await leavesNothing(host);
    });
  },
);

async function show(host: Host, id: string): Promise<LinkDetails> {
  return JSON.parse(await succeeds(host, `show --json ${id}`));
}

/** The first look at a link that is as it should become. */
async function showWhen(
  host: Host,
  id: string,
  isSo: (details: LinkDetails) => boolean,
): Promise<LinkDetails> {
  const looks: LinkDetails[] = [];
  await host.waitFor(
    async () => {
      const details = await show(host, id);
      looks.push(details);
      return isSo(details);
    },
    { timeout: 30, what: `link ${id} to become so` },
  );
  const last = looks.at(-1);
  assert.ok(last);
  return last;
}
