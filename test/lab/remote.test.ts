import * as assert from 'uvu/assert';
import type { Counters } from '../../src/state/counters.ts';
import { fails, installedHost, succeeds, wormhole } from './installed.ts';
import { listens } from './listening.ts';
import { allGone, greeter, hears, type Pair, pair, partOn } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

const ASK = "mysql -u root -h 127.0.0.1 -N -e 'select 41 + 1'";

labSuite<Pair & { stranger: Host }>(
  'remote',
  async () => {
    const both = await pair();
    const stranger = await installedHost({ name: 'stranger', docker: false });
    await both.near.run('docker run -d --name app --network none wormhole/tools');
    await greeter(both.myserver, 'greeter', 7000, 'myserver');
    return { ...both, stranger };
  },
  (test, at) => {
    test('the two commands of the README, with a database that has no network', async () => {
      const { near, myserver } = at();
      // The engine on the other machine is had over TCP, as `docker -H myserver` has it.
      await myserver.run('systemd-run --unit api socat TCP-LISTEN:2375,fork UNIX:/var/run/docker.sock');
      await listens(myserver, 2375);
      const script = 'mysql=`docker -H myserver run -d --network none wormhole/mysql`';
      for (const recipe of ['tail docker-ns $mysql', 'tail url :3306 docker-ns $mysql']) {
        const { stdout } = await near.run(`${script}; wormhole create url :3306 remote myserver ${recipe}`, {
          timeout: 120,
        });
        assert.is(stdout, '3306 tcp://127.0.0.1:3306\n');
        const answer = await near.waitFor(() => near.run(ASK, { timeout: 60 }), { what: 'the database' });
        assert.is(answer.stdout, '42\n');

        const part = await partOn(myserver);
        assert.is(part.id, 'near-3306');
        const facing = [myserver.address, `[${myserver.address6}]`];
        assert.ok(facing.includes(part.address), part.address);
        assert.match(
          await succeeds(near, 'list'),
          new RegExp(`^3306 .*:${part.port} on machine myserver`, 'm'),
        );
        assert.match(await succeeds(myserver, 'list'), /^near-3306 \(for 3306 of near\) /m);
        assert.is(await succeeds(near, 'delete 3306'), '');
        await allGone(near, myserver);
      }
      await myserver.run('systemctl stop api; systemctl reset-failed api; docker rm -f $(docker ps -aq)');
    });

    test('what fails on the other machine is told here, until a client is served', async () => {
      const { near, myserver } = at();
      await succeeds(near, 'create id wrong url :4199 remote myserver tail');
      const ask = () => near.run('nc -w 50 127.0.0.1 4199 </dev/null', { check: false, timeout: 60 });
      for (let client = 0; client < 2; client++) assert.is((await ask()).stdout, '');
      const words = /machine myserver says: 127\.0\.0\.1:4199 on this host refused/;
      await near.waitFor(async () => words.test(await near.journal('-b', '-t', 'wormhole-wrong')), {
        what: 'the journal to say why',
      });
      const line = async () => /^wrong .*$/m.exec(await succeeds(near, 'list'))?.[0] ?? '';
      await near.waitFor(
        async () => / failing machine myserver says: .* refused .*, 2 times since /.test(await line()),
        {
          what: 'list to say why and how often',
        },
      );
      const listed = JSON.parse(await succeeds(near, 'list --json')) as { counters: Counters }[];
      assert.is(listed[0]?.counters.served, 0);
      assert.is(listed[0]?.counters.unserved, 2);

      await greeter(myserver, 'late', 4199, 'at last');
      assert.is((await ask()).stdout, 'at last\n');
      await near.waitFor(async () => !/failing/.test(await line()), { what: 'list to forget it' });
      await succeeds(near, 'delete wrong');
      await allGone(near, myserver);
      await myserver.run('systemctl stop late; systemctl reset-failed late');
    });

    test('a head in a container; the far part admits this machine only', async () => {
      const { near, myserver, stranger } = at();
      assert.is(
        await succeeds(near, 'create url :7000 docker-ns app remote myserver tail'),
        '7000-app tcp://127.0.0.1:7000',
      );
      const inside = near.container('app');
      assert.is((await inside.run('nc -w 60 127.0.0.1 7000 </dev/null')).stdout, 'myserver\n');

      const { id, address, port } = await partOn(myserver);
      const knock = `nc -w 3 ${address.replace(/[[\]]/g, '')} ${port} </dev/null`;
      const refusals = async () =>
        (await myserver.journal('-o', 'cat', '-u', `wormhole-${id}.service`)).match(/^.*serves.*only.*$/gm) ??
        [];
      const drops = await stranger.run(knock, { check: false });
      assert.is(drops.stdout, '');
      assert.ok(drops.status !== 0);
      // A kernel that does not filter: the forwarder itself looks.
      await myserver.run(`mkdir -p /run/systemd/system/wormhole-${id}.socket.d
        printf '[Socket]\\nIPAddressDeny=\\nIPAddressAllow=any\\n' >/run/systemd/system/wormhole-${id}.socket.d/open.conf
        systemctl daemon-reload; systemctl stop wormhole-${id}.service; systemctl restart wormhole-${id}.socket`);
      const before = (await refusals()).length;
      assert.is((await stranger.run(knock, { check: false })).stdout, '');
      const line = (await near.waitFor(async () => (await refusals())[before], { what: 'the line' })) ?? '';
      assert.ok(line.includes(stranger.address) || line.includes(stranger.address6), line);
      assert.is(
        (await inside.run('nc -w 60 127.0.0.1 7000 </dev/null')).stdout,
        'myserver\n',
        'and we still may',
      );
      await myserver.run(`rm -r /run/systemd/system/wormhole-${id}.socket.d; systemctl daemon-reload`);
      await succeeds(near, 'delete 7000-app');
      await allGone(near, myserver);
    });

    test('a machine with another key can do nothing', async () => {
      const { myserver, stranger } = at();
      await fails(
        stranger,
        'create url :7000 remote myserver tail',
        /the keys of this machine and \S+ differ/,
      );
      const put = `curl -sk -X PUT -d '{"recipe":["tail"],"owner":{"id":"a","machine":"b"}}'`;
      const path = `v1/parts/${'0'.repeat(32)}`;
      const { stdout } = await stranger.run(`${put} https://myserver:9999/${path}`, { check: false });
      assert.is(stdout, '');
      await allGone(stranger, myserver);
    });

    test('100 MB both ways at once arrive as they were sent', async () => {
      const { near, myserver } = at();
      for (const [host, file] of [
        [near, 'up'],
        [myserver, 'down'],
      ] as const)
        await host.run(`head -c 100M /dev/urandom > /root/${file}`);
      await myserver.run(
        `systemd-run --unit exchange socat -t 60 TCP-LISTEN:7001,reuseaddr SYSTEM:'cat /root/down & cat > /root/up.arrived; wait'`,
      );
      await succeeds(near, 'create url :7001 remote myserver tail');
      await near.run('nc -N 127.0.0.1 7001 < /root/up > /root/down.arrived', { timeout: 120 });
      const sums = async (host: Host, ...files: string[]) =>
        (await host.run(`cd /root && md5sum ${files.join(' ')} | cut -d' ' -f1`)).stdout;
      assert.is(await sums(near, 'up', 'down.arrived'), await sums(myserver, 'up.arrived', 'down'));
      await succeeds(near, 'delete 7001');
      await allGone(near, myserver);
    });

    test('trigger: the other machine makes its part at the first connection', async () => {
      const { near, myserver } = at();
      await succeeds(
        near,
        'create url :3306 trigger remote myserver trigger url :3306 docker-run wormhole/mysql',
      );
      assert.equal(JSON.parse(await succeeds(myserver, 'list --json')), []);
      assert.match(await succeeds(near, 'list'), /^3306 .* machine myserver +sleeping$/m);
      assert.is((await near.run(ASK, { timeout: 120 })).stdout, '42\n');
      await partOn(myserver);
      await succeeds(near, 'delete 3306');
      await allGone(near, myserver);
      assert.is((await myserver.run('docker ps -aq')).stdout, '', 'no container is left');
    });

    test('a container here whose program finds its database there', async () => {
      const { near, myserver } = at();
      await succeeds(
        near,
        'create url :80 trigger docker-run wormhole/wordpress child url :3306 remote myserver trigger url :3306 docker-run wormhole/mysql',
      );
      const page = await near.run('curl -sSL --max-time 120 http://127.0.0.1/', { timeout: 150 });
      assert.match(page.stdout, /WordPress/);
      assert.is((await partOn(myserver)).id, 'near-80-3306');
      await succeeds(near, 'delete 80');
      await allGone(near, myserver);
    });

    test('recipes nest, and may lead back', async () => {
      const { near, myserver } = at();
      await greeter(near, 'home', 7002, 'near');
      assert.is(
        await succeeds(near, 'create id there-and-back url :7003 remote myserver remote near tail url :7002'),
        'there-and-back tcp://127.0.0.1:7003',
      );
      assert.is(await hears(near, 7003), 'near\n');
      assert.is(JSON.parse(await succeeds(near, 'list --json')).length, 2);
      await succeeds(near, 'delete there-and-back');
      await allGone(near, myserver);
    });

    test('both machines make links to each other at the same time', async () => {
      const { near, myserver } = at();
      const ports = Array.from({ length: 6 }, (_, n) => 7100 + n);
      const made = await Promise.all(
        ports.map((port, n) =>
          n % 2
            ? wormhole(near, `create url :${port} remote myserver tail url :7000`)
            : wormhole(myserver, `create url :${port} remote near tail url :7002`),
        ),
      );
      assert.equal(
        made.map(({ stderr }) => stderr),
        ports.map(() => ''),
      );
      for (const [n, port] of ports.entries())
        assert.is(await hears(n % 2 ? near : myserver, port), n % 2 ? 'myserver\n' : 'near\n');
      const gone = await Promise.all(
        ports.map((port, n) => wormhole(n % 2 ? near : myserver, `delete ${port}`)),
      );
      assert.equal(
        gone.map(({ stderr }) => stderr),
        ports.map(() => ''),
      );
      await allGone(near, myserver);
    });

    test('what cannot be made: one line, and nothing is left on either machine', async () => {
      const { near, myserver } = at();
      await fails(near, 'create url :7000 remote nobody tail', /machine "nobody" is unknown/);
      await fails(
        near,
        'create url :7000 remote 10.90.0.250 tail',
        /10\.90\.0\.250:9999 (does not answer|cannot)/,
      );
      await fails(
        near,
        'create url :7000 remote myserver tail docker-ns nobody',
        /machine myserver: .*no container "nobody"/i,
      );
      await fails(
        near,
        'create url :7000 remote myserver url 192.0.2.1:80 tail',
        /machine myserver: "192\.0\.2\.1" is not an address of this host/,
      );
      await fails(
        near,
        'create url :7000 remote myserver remote nobody tail',
        /machine myserver: machine "nobody" is unknown/,
      );
      await fails(
        near,
        'create url :7000 remote myserver url :22222 tail docker-run no/such:image',
        /no\/such:image/,
      );
      // Here it cannot be made, after it could be made there.
      await near.run('systemd-run --unit taken socat TCP-LISTEN:7004,bind=127.0.0.1,fork EXEC:cat');
      await listens(near, 7004);
      await fails(
        near,
        'create url :7004 remote myserver tail url :7000',
        /127\.0\.0\.1:7004 .* in use already/,
      );
      await near.run('systemctl stop taken; systemctl reset-failed taken');
      await myserver.run('systemctl stop wormholed-tcp.socket wormholed.service');
      await fails(near, 'create url :7000 remote myserver tail', /no daemon at tcp:\/\/myserver:9999/);
      await myserver.run('systemctl start wormholed-tcp.socket');
      await allGone(near, myserver);
      assert.is(await near.failedUnits(), '');
      assert.is(await myserver.failedUnits(), '');
    });

    test('what would be written, without asking anybody', async () => {
      const { near, myserver } = at();
      const files = await succeeds(near, 'create --dry-run url :7000 remote nobody tail');
      assert.match(files, /^ExecStart=.* --to-file \/run\/wormhole\/link\/far /m);
      await allGone(near, myserver);
    });
  },
);
