import * as assert from 'uvu/assert';
import { bootVm, type Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { create, ESP, keepDaemon, MARKER, PATIENCE, traces, warm, wormhole } from './tunnels.ts';

const ASK = "mysql -u root -h 127.0.0.1 -N -e 'select 41 + 1'";
const TELL = `mysql -u root -h 127.0.0.1 -N -e "select repeat('${MARKER}', 1000)"`;
const UDP = 17;

/** No link, no tunnel, no container, and nothing of them in the kernel. */
async function isClean(...vms: Vm[]): Promise<void> {
  const left = async (vm: Vm) => {
    const own =
      'docker ps -aq; find /run/wormhole/links /var/lib/wormhole/pending-deletions -type f 2>/dev/null';
    return `${await traces(vm)}${(await vm.run(own, { check: false })).stdout}`;
  };
  for (const vm of vms) {
    const gone = async () => (await left(vm)) === '';
    await vm.waitFor(gone, { timeout: PATIENCE, what: `all to go on ${vm.name}` }).catch(async (error) => {
      throw new Error(`${error.message}: ${await left(vm)}`);
    });
  }
}

vmSuite(
  'links through tunnels',
  async () => {
    const [near, myserver] = await Promise.all([
      bootVm({ name: 'near', docker: true }),
      bootVm({ name: 'myserver', docker: true }),
    ]);
    await Promise.all([keepDaemon(near), keepDaemon(myserver)]);
    await warm(near, myserver);
    return { near, myserver };
  },
  (test, at) => {
    let mysql = '';

    test('a database in a container of the other machine, started by the first connection', async () => {
      const { near, myserver } = at();
      mysql = (
        await myserver.run('docker run -d --network none wormhole/mysql', { timeout: 120 })
      ).stdout.trim();
      assert.is(
        await wormhole(near, `create url :3306 tunnel myserver trigger url :3306 docker-ns ${mysql}`),
        '3306 tcp://127.0.0.1:3306',
      );
      const answer = await near.waitFor(() => near.run(ASK, { timeout: 120 }), {
        what: 'the database',
        timeout: 200,
      });
      assert.is(answer.stdout, '42\n');

      const before = near.frames().length;
      assert.match((await near.run(TELL, { timeout: 60 })).stdout, MARKER);
      const crossed = near.frames().slice(before);
      assert.ok(crossed.some(({ protocol }) => protocol === ESP));
      assert.not.ok(crossed.some(({ bytes }) => bytes.includes(MARKER)));

      const [tunnel] = JSON.parse(await wormhole(near, 'tunnel-list --json'));
      assert.match(
        await wormhole(near, 'list'),
        new RegExp(`^3306 .*tcp://${tunnel.remote}:6\\d{4} on machine myserver, tunnel myserver`, 'm'),
      );
      const [link] = JSON.parse(await wormhole(myserver, 'list --json'));
      assert.match(link.head.url, new RegExp(`^tcp://${tunnel.remote}:`));
      const refused = await near.run('wormhole tunnel-delete myserver', { check: false });
      assert.match(
        refused.stderr,
        /^wormhole: the tunnel to myserver is in use: wormhole delete 3306; [^\n]+\n$/,
      );
      const there = await myserver.run('wormhole tunnel-delete near', { check: false });
      assert.match(there.stderr, /in use: wormhole delete near-3306/);
      await wormhole(near, 'delete 3306');
      await wormhole(near, 'tunnel-delete myserver');
      for (const vm of [near, myserver]) assert.is(await traces(vm), '', vm.name);
    });

    test('the same database, through ESP in UDP', async () => {
      const { near, myserver } = at();
      const [local] = await create(near, '--udp myserver');
      await wormhole(near, `create url :3306 udptunnel myserver tail docker-ns ${mysql}`);
      const answered = () => near.run(ASK, { timeout: 120 });
      assert.is((await near.waitFor(answered, { what: 'the database', timeout: 200 })).stdout, '42\n');
      const before = near.frames().length;
      assert.match((await near.run(TELL, { timeout: 60 })).stdout, MARKER);
      const crossed = near.frames().slice(before);
      assert.not.ok(crossed.some(({ protocol }) => protocol === ESP));
      assert.ok(crossed.some(({ protocol, bytes }) => protocol === UDP && bytes.length > 1000));
      assert.not.ok(crossed.some(({ bytes }) => bytes.includes(MARKER)));
      const [tunnel, ...others] = JSON.parse(await wormhole(near, 'tunnel-list --json'));
      assert.equal([tunnel.mode, tunnel.local, others], ['udp', local, []]);
      const plain = await near.run('wormhole create url :3307 tunnel myserver tail url :3306', {
        check: false,
        timeout: PATIENCE,
      });
      assert.match(
        plain.stderr,
        /^wormhole: [^\n]*there is a tunnel with myserver already, of ESP in UDP[^\n]*\n$/,
      );
      await wormhole(near, 'delete 3306');
      await wormhole(near, 'tunnel-delete myserver');
      await myserver.run(`docker rm -f ${mysql}`, { timeout: 60 });
      await isClean(near, myserver);
    });

    test('the same link without a tunnel can be read on the wire', async () => {
      const { near, myserver } = at();
      await myserver.run(
        `systemd-run --unit clear socat TCP-LISTEN:7000,bind=127.0.0.1,fork EXEC:'echo ${MARKER}'`,
      );
      await wormhole(near, 'create url :7000 remote myserver tail');
      const before = near.frames().length;
      assert.match((await near.run('nc -w 60 127.0.0.1 7000 </dev/null', { timeout: 90 })).stdout, MARKER);
      assert.ok(
        near
          .frames()
          .slice(before)
          .some(({ bytes }) => bytes.includes(MARKER)),
      );
      await wormhole(near, 'delete 7000');
      await isClean(near, myserver);
    });

    test('trigger tunnel: the tunnel and the container are made by the first connection', async () => {
      const { near } = at();
      await wormhole(
        near,
        'create --start-timeout 5m url :3306 trigger tunnel myserver trigger url :3306 docker-run wormhole/mysql',
      );
      assert.is(await wormhole(near, 'tunnel-list --json'), '[]');
      assert.is((await near.run(ASK, { timeout: 200 })).stdout, '42\n');
      await wormhole(near, 'delete 3306');
      assert.is(JSON.parse(await wormhole(near, 'tunnel-list --json')).length, 1, 'the tunnel stays');
    });

    test('WordPress here, its database there, through the tunnel that there is', async () => {
      const { near, myserver } = at();
      await wormhole(
        near,
        `create --start-timeout 5m url :80 trigger docker-run wormhole/wordpress \
           child url :3306 tunnel myserver trigger url :3306 docker-run wormhole/mysql`,
      );
      const page = await near.run('curl -sSL --max-time 280 http://127.0.0.1/', { timeout: 400 });
      assert.match(page.stdout, /WordPress/);
      await wormhole(near, 'delete 80');
      await wormhole(near, 'tunnel-delete myserver');
      await isClean(near, myserver);
    });

    test('a create that fails takes the tunnel back that it has made', async () => {
      const { near, myserver } = at();
      const { stderr } = await near.run('wormhole create url :80 tunnel myserver tail docker-ns nobody', {
        check: false,
        timeout: 60,
      });
      assert.match(stderr, /^wormhole: machine myserver: [^\n]*nobody[^\n]*\n$/);
      await isClean(near, myserver);
    });
  },
);
