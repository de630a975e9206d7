import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import { listens } from './listening.ts';
import { hasNotedSessions } from './noted-sessions.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* Several tails with what else links have: limits, PROXY headers, DNS names, files that describe them, and what shows them. */

/** Starts a server in a container without a network, which sends back what it gets. */
async function echo(host: Host, name: string): Promise<void> {
  await host.run(
    `docker run -d --network none --name ${name} wormhole/tools socat -t 5 TCP-LISTEN:80,fork,reuseaddr EXEC:cat`,
  );
  await listens(host, 80, { container: name });
}

/** What a port answers to one who says `text` and ends. */
async function answer(host: Host, port: number, text: string): Promise<string> {
  const command = `printf ${text} | timeout 100 nc -N 127.0.0.1 ${port}`;
  return (await host.run(command, { check: false })).stdout;
}

/** The names and digests of all units of links. */
async function digests(host: Host): Promise<string> {
  return (
    await host.run(
      'cd /etc/systemd/system; sha256sum $(ls -dp wormhole-[lnp].* wormhole-[lnp]-to-* | grep -v /)',
    )
  ).stdout;
}

labSuite(
  'several tails with what else links have',
  async () => {
    const host = await installedHost({ name: 'tails' });
    for (const name of ['web1', 'web2']) await echo(host, name);
    return host;
  },
  (test, at) => {
    test('limits are about the head, and count the sessions of all tails', async () => {
      const host = at();
      await succeeds(
        host,
        'create --max-connections 50 --max-per-source 2 --rate 100 --idle-timeout 1h --keepalive 1m id l url :81 tail url :80 docker-ns web1 or url :80 docker-ns web2',
      );
      const { stdout } = await host.run(
        `timeout 140 bash -c '
          try() { (trap "" PIPE; exec 9<>/dev/tcp/127.0.0.1/81; echo $1 >&9; x=; read -t 50 -u 9 x; test "$x" = $1 && echo served) 2>/dev/null; }
          exec 3<>/dev/tcp/127.0.0.1/81; echo 3 >&3; read -t 50 -u 3 x; echo $x
          exec 4<>/dev/tcp/127.0.0.1/81; echo 4 >&4; read -t 50 -u 4 x; echo $x
          try 5 || echo refused
          exec 4>&-
          until try 6; do sleep 0.1; done'`,
        { check: false },
      );
      assert.is(stdout, '3\n4\nrefused\nserved\n');
      const rows = JSON.parse(await succeeds(host, 'list --json')) as Row[];
      const of = (id: string) => rows.find((row) => row.id === id)?.counters;
      assert.ok((of('l')?.refused ?? 0) >= 1);
      assert.is(of('l-to-web1')?.refused, 0);
      assert.ok((of('l-to-web1')?.served ?? 0) >= 1);
      assert.ok((of('l-to-web2')?.served ?? 0) >= 1);
      const sum = (of('l-to-web1')?.bytesFromClients ?? 0) + (of('l-to-web2')?.bytesFromClients ?? 0);
      assert.is(of('l')?.bytesFromClients, sum);
    });

    test('the PROXY protocol is spoken with the target of the tail that takes the client', async () => {
      const host = at();
      await succeeds(
        host,
        'create --balance first --proxy-protocol=v1 --accept-proxy-protocol 127.0.0.0/8 id p url :82 tail url :1 docker-ns web1 or url :80 docker-ns web2',
      );
      const header = 'PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\\r\\n';
      for (let n = 0; n < 2; n++)
        assert.is(
          await answer(host, 82, `'${header}hello'`),
          'PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\nhello',
        );
      await succeeds(
        host,
        'create --proxy-protocol=v2 id u url unix:///run/u.sock tail url tcp://:80 docker-ns web1 or url tcp://:80 docker-ns web2',
      );
      const said = await host.run('printf x | timeout 100 nc -N -U /run/u.sock | od -An -tx1 | head -1');
      assert.match(said.stdout, /^ 0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a 21 31 /);
      await succeeds(host, 'delete u');
    });

    test('a tail with a DNS name tries all its addresses, and then the next tail serves', async () => {
      const host = at();
      await host.run("printf '127.0.0.5 pool.test\\n127.0.0.6 pool.test\\n' >>/etc/hosts");
      const serve = (unit: string) =>
        `systemd-run --unit ${unit} socat -t 20 TCP-LISTEN:9000,bind=127.0.0.6,fork,reuseaddr SYSTEM:'cat >/dev/null; echo pool'`;
      await host.run(serve('pool'));
      await listens(host, 9000);
      await succeeds(
        host,
        'create --balance first id n url :83 tail url pool.test:9000 or url :80 docker-ns web1',
      );
      for (let n = 0; n < 3; n++) assert.is(await answer(host, 83, 'web1'), 'pool\n');
      const front = 'journalctl --sync; journalctl -q -o cat -u wormhole-n.service';
      assert.not.match((await host.run(front)).stdout, /does not serve/);
      await host.run('systemctl stop pool');
      assert.is(await answer(host, 83, 'web1'), 'web1');
      assert.match((await host.run(front)).stdout, /tail pool\.test-9000 does not serve: pool\.test:9000/);
      await host.run(serve('pool-again'));
      await host.waitFor(async () => (await answer(host, 83, 'web1')) === 'pool\n', {
        timeout: 60,
        what: 'the name to serve again',
      });
    });

    test('show, graph and metrics have the tails', async () => {
      const host = at();
      const session = host.spawn('socat - TCP:127.0.0.1:81');
      session.write('x\n');
      await host.waitFor(() => session.stdout() === 'x\n', { timeout: 20, what: 'the session' });
      await hasNotedSessions(host, 'l');
      const shown = await succeeds(host, 'show l');
      assert.match(shown, /^l {2}tcp:\/\/127\.0\.0\.1:81 ══▶ 2 tails {2}connected \*$/m);
      assert.match(shown, /^├─ l-to-web1 {2}══▶ tcp:\/\/127\.0\.0\.1:80 in container web1 /m);
      assert.match(shown, /^wormhole-l-to-web2\.service +/m);
      assert.match(shown, /^127\.0\.0\.1:\d+ +127\.0\.0\.1:80 /m);
      const graph = await succeeds(host, 'graph --format mermaid');
      for (const id of ['l-to-web1', 'l-to-web2', 'n-to-pool.test-9000'])
        assert.ok(graph.includes(id), `${id} in ${graph}`);
      assert.not.match(graph, /hand-off|2 tails/);
      const metrics = (await wormhole(host, 'metrics')).stdout;
      assert.match(metrics, /^wormhole_link_sessions_total\{link="l-to-web1"\} [1-9]/m);
      assert.match(metrics, /^wormhole_link_info\{link="l-to-web1",.*parent="l"/m);
      session.end();
      await session.exited;
    });

    test('export, delete, apply: the units are the same, and a tail that is drained stays so', async () => {
      const host = at();
      const before = await digests(host);
      await host.run('mkdir /root/all');
      await succeeds(host, 'export -o /root/all');
      assert.match((await host.run('cat /root/all/p.wormhole')).stdout, /^Balance=first$/m);
      await wormhole(host, 'delete --all');
      await succeeds(host, 'apply -f /root/all');
      assert.is(await digests(host), before);
      assert.is(await succeeds(host, 'apply -f /root/all'), '');
      await succeeds(host, 'drain l web1');
      assert.is(await succeeds(host, 'apply -f /root/all'), '');
      const create =
        'create --if-absent --max-connections 50 --max-per-source 2 --rate 100 --idle-timeout 1h --keepalive 1m id l url :81 tail url :80 docker-ns web1';
      await succeeds(host, `${create} or url :80 docker-ns web2`);
      await fails(host, `${create} or url :80 docker-ns web3`, /no container "web3"|exists, and differs/);
      await host.run('echo Check=5s >>/root/all/l.wormhole');
      const out = await succeeds(host, 'apply -f /root/all');
      assert.match(out, /^\+Check=5s$/m);
      assert.match(out, /^changed link l /m);
      assert.match(await succeeds(host, 'list'), /^l-to-web1 .* drained/m);
      assert.is(await answer(host, 81, 'hello'), 'hello');
      await succeeds(host, 'undrain l web1');
    });

    test('a tail whose name is a number is drained by its name', async () => {
      const host = at();
      for (const name of ['1', '2']) await host.run(`ip netns add ${name}`);
      await succeeds(host, 'create id number url :4900 tail url 2@:80 or url 1@:80');
      await succeeds(host, 'drain number 1');
      assert.match(
        await succeeds(host, 'list'),
        /^number-to-2 .* listening\nnumber-to-1 .* listening drained$/m,
      );
      await succeeds(host, 'delete number');
      for (const name of ['1', '2']) await host.run(`ip netns del ${name}`);
    });

    test('the longest id, and tails whose names are as long, fit into the paths of their sockets', async () => {
      const host = at();
      const id = 'i'.repeat(100);
      const container = 'c'.repeat(100);
      const name = `${'n'.repeat(50)}.test`;
      await echo(host, container);
      await host.run(`echo '127.0.0.7 ${name}' >>/etc/hosts
        systemd-run --unit far-name socat -t 20 TCP-LISTEN:9001,bind=127.0.0.7,fork,reuseaddr SYSTEM:'cat >/dev/null; echo name'`);
      await listens(host, 9001);
      await succeeds(
        host,
        `create --balance round-robin id ${id} url :85 tail url ${name}:9001 or url :80 docker-ns ${container}`,
      );
      for (const expected of ['name\n', 'self', 'name\n'])
        assert.is(await answer(host, 85, 'self'), expected);
      await succeeds(host, `delete ${id}`);
      await host.run(`docker rm -f ${container}; systemctl stop far-name`);
    });

    test('what does not fit several tails is refused, and deleting leaves nothing', async () => {
      const host = at();
      await fails(
        host,
        'create --max-per-source 2 --accept-proxy-protocol 127.0.0.0/8 url :84 tail docker-ns web1 or docker-ns web2',
        /--max-per-source "2" counts the connections of an address/,
        2,
      );
      await wormhole(host, 'delete --all');
      await leavesNothing(host);
    });
  },
);

interface Row {
  id: string;
  counters?: { refused: number; served: number; bytesFromClients: number };
}
