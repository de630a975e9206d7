import * as assert from 'uvu/assert';
import { askDatagram } from './ask-datagram.ts';
import { writeKey } from './cluster.ts';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

const NODE = 'node /src/wormhole/test/lab';

const asked = (host: Host, port: number, say = 'hello') => askDatagram(host, port, { say, seconds: 60 });

/** The urls at which the part of a link on another machine listens. */
async function partUrls(host: Host): Promise<string[]> {
  const listed = JSON.parse(await succeeds(host, 'list --json')) as {
    owner?: string;
    head: { url: string; also?: string[] };
  }[];
  const part = listed.find(({ owner }) => owner !== undefined);
  return part ? [part.head.url, ...(part.head.also ?? [])] : [];
}

labSuite<{ near: Host; far: Host; stranger: Host }>(
  'datagrams and unix sockets of other machines',
  async () => {
    const near = await installedHost({ name: 'near', docker: false });
    const far = await installedHost({ name: 'far', docker: false });
    const stranger = await boot({ name: 'stranger', docker: false });
    await writeKey(far, (await near.run('cat /etc/wormhole/key.secret')).stdout);
    await far.run(`systemd-run --unit echo ${NODE}/udp-server.mjs 5301`);
    await far.run(
      'systemd-run --unit tcp socat -t 60 TCP-LISTEN:5301,bind=127.0.0.1,fork,reuseaddr EXEC:cat',
    );
    await far.run('systemd-run --unit path socat -t 60 UNIX-LISTEN:/run/far.sock,fork,mode=666 EXEC:cat');
    return { near, far, stranger };
  },
  (test, at) => {
    test('remote carries datagrams as UDP and connections as TCP, at one port', async () => {
      const { near, far } = at();
      assert.is(
        await succeeds(near, 'create id both url udp://:5300 url tcp:// remote far tail url :5301'),
        'both udp://127.0.0.1:5300 tcp://127.0.0.1:5300',
      );
      assert.is(await asked(near, 5300), 'hello\n');
      assert.is((await near.run('echo stream | nc -N 127.0.0.1 5300')).stdout, 'stream\n');
      const urls = await partUrls(far);
      assert.equal(urls.map((url) => url.split(':')[0]).sort(), ['tcp', 'udp']);
      assert.is(new Set(urls.map((url) => url.replace(/^\w+/, ''))).size, 1, urls.join());
      // Datagrams of all sizes cross, those too that are fragmented on the way.
      await near.run(`${NODE}/udp-sizes.mjs 5300 0 1 512 1400 1472 1473 9000 65507 0`, { timeout: 60 });
      assert.is(
        (await near.run(`${NODE}/udp-clients.mjs 5300 500 50`, { timeout: 120 })).stdout,
        '500 right, 0 wrong\n',
      );
    });

    test('datagrams that the kernel has joined arrive, also where each is larger than the way to the machine allows', async () => {
      const { near, far } = at();
      assert.is((await near.run(`${NODE}/udp-gso.mjs 5300 1200 20`, { timeout: 60 })).stdout, '20 answers\n');
      for (const host of [near, far]) await host.run('ip link set eth0 mtu 1280');
      try {
        assert.is(
          (await near.run(`${NODE}/udp-gso.mjs 5300 1400 20`, { timeout: 60 })).stdout,
          '20 answers\n',
        );
      } finally {
        for (const host of [near, far]) await host.run('ip link set eth0 mtu 1500');
      }
    });

    test('the part is for that machine alone', async () => {
      const { near, far, stranger } = at();
      const [, port] = /:(\d+)$/.exec((await partUrls(far))[0] ?? '') ?? [];
      const { stdout } = await stranger.run(`echo intruder | socat -t 3 - UDP:${far.address}:${port}`, {
        check: false,
      });
      assert.is(stdout, '');
      assert.is(await asked(near, 5300), 'hello\n');
    });

    test('the other machine reboots: the next datagram finds its part again', async () => {
      const { near, far } = at();
      await far.reboot();
      await far.run(`systemd-run --unit echo ${NODE}/udp-server.mjs 5301`);
      await far.run(
        'systemd-run --unit tcp socat -t 60 TCP-LISTEN:5301,bind=127.0.0.1,fork,reuseaddr EXEC:cat',
      );
      await far.run('systemd-run --unit path socat -t 60 UNIX-LISTEN:/run/far.sock,fork,mode=666 EXEC:cat');
      await near.waitFor(
        async () => (await askDatagram(near, 5300, { say: 'again', seconds: 10 })) === 'again\n',
        {
          timeout: 60,
          what: 'an answer from the machine that has rebooted',
        },
      );
      await succeeds(near, 'delete both');
      await leavesNothing(far);
    });

    test('a part that is gone is created again while its first datagram waits', async () => {
      const { near, far } = at();
      await succeeds(near, 'create id lost url udp://:5310 remote far tail url :5301');
      assert.is(await asked(near, 5310), 'hello\n');
      await succeeds(far, 'delete --all');
      await near.run('systemctl stop wormhole-lost.service');
      assert.is(await asked(near, 5310, 'waits'), 'waits\n');
      await succeeds(near, 'delete lost');
    });

    test('a path here leads to a path there, and one there with its own group', async () => {
      const { near, far } = at();
      await succeeds(near, 'create url unix:///run/near.sock remote far tail url unix:///run/far.sock');
      assert.is((await near.run('echo across | socat -t 60 - UNIX:/run/near.sock')).stdout, 'across\n');
      await far.run('groupadd friends; chown :friends /run/far.sock; chmod 660 /run/far.sock');
      await succeeds(
        near,
        'create --mode 600 --group friends id grouped url unix:///run/grouped.sock remote far tail url unix:///run/far.sock',
      );
      assert.is((await near.run('echo group | socat -t 60 - UNIX:/run/grouped.sock')).stdout, 'group\n');
      assert.is((await near.run('stat -c %a /run/grouped.sock')).stdout, '600\n');
      await succeeds(near, 'delete near grouped');
      for (const host of [near, far]) await leavesNothing(host);
    });
  },
);
