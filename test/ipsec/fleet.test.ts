import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ETCD_PACKAGES, type Etcd, startEtcd } from '../lab/etcd.ts';
import { rootfs } from '../lab/rig/rootfs.ts';
import { bootVm, type Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { ESP, keepDaemon, MARKER, PATIENCE, warmTo, wormhole } from './tunnels.ts';

/* Three machines publish a service in etcd, and one has a link to it through IPsec. Machines leave and return, and so does etcd. */

interface Fleet {
  near: Vm;
  publishers: Vm[];
  etcd: Etcd;
}

/** Nodes may be slow to answer each other on a busy machine. */
const PATIENT = '--heartbeat-interval 500 --election-timeout 5000';

async function start(): Promise<Fleet> {
  const names = ['near', 'one', 'two', 'three'];
  const [near, ...publishers] = await Promise.all(names.map((name) => bootVm({ name })));
  if (!near) throw new Error('no machine');
  const all = [near, ...publishers];
  await Promise.all(all.map(keepDaemon));
  const [added = ''] = await rootfs({ packages: ETCD_PACKAGES, release: 'bookworm' });
  for (const program of ['etcd', 'etcdctl']) await near.copyIn(join(added, 'usr/bin', program), '/usr/bin');
  // Node 1, 2 and 3 are processes of the machine with the clients.
  const etcd = await startEtcd([near], { isSecure: false, flags: PATIENT });
  await Promise.all(
    publishers.map(async (vm) => {
      await etcd.configure(vm);
      // A server that starts at boot, says its name, and then what it hears.
      await vm.run(`
        printf '%s\\n' '[Service]' "ExecStart=socat TCP-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork SYSTEM:'echo ${vm.name} ${MARKER}; cat'" '[Install]' WantedBy=multi-user.target >/etc/systemd/system/server.service
        systemctl enable --now server`);
      await wormhole(vm, 'publish db tail url :7000');
      // Wormhole writes its own files through to the disk. One that loses power soon has the others, too.
      await vm.run('sync');
    }),
  );
  await etcd.configure(near);
  for (const vm of publishers) await warmTo(near, vm);
  return { near, publishers, etcd };
}

vmSuite<Fleet>('a service of three machines through tunnels', start, (test, at) => {
  const vm = (index: number) => at().publishers[index] as Vm;
  const keys = async () => (await at().etcd.ctl('get --prefix --keys-only /wormhole/')).stdout;
  const refresh = () =>
    at().near.run('systemctl start wormhole-services@_all.service', { timeout: PATIENCE });

  /** The name of the machine that has served a client, which has to be served. */
  const client = async (): Promise<string> => {
    const { stdout } = await at().near.run('socat -t 120 - TCP:127.0.0.1:5432 </dev/null', {
      timeout: PATIENCE,
    });
    const [name = ''] = stdout.split(' ');
    assert.not.equal(name, '', 'a client is served');
    return name;
  };
  const clients = async (count: number): Promise<string> => {
    const names = new Set<string>();
    for (let n = 0; n < count; n++) names.add(await client());
    return [...names].sort().join();
  };
  const untilServed = (names: string) =>
    at().near.waitFor(async () => (await clients(6)) === names, {
      timeout: PATIENCE,
      what: `clients of ${names}`,
    });

  /** Says something in the session that is open all the time, and waits for it to come back. */
  const inSession = async (text: string) => {
    await at().near.run(`echo ${text} >/run/in`);
    await at().near.waitFor(async () => (await at().near.run('cat /run/out')).stdout.includes(text), {
      what: `the session to carry ${text}`,
    });
  };

  test('clients are served by all machines, through ESP', async () => {
    const { near, publishers } = at();
    for (const one of publishers)
      await near.waitFor(async () => (await keys()).includes(one.address), {
        what: `${one.name} to be in etcd`,
      });
    await wormhole(near, 'create --balance round-robin url :5432 tunnel service:db');
    const before = near.frames().length;
    await untilServed('one,three,two');
    const crossed = near.frames().slice(before);
    assert.ok(crossed.some(({ protocol }) => protocol === ESP));
    assert.not.ok(crossed.some(({ bytes }) => bytes.includes(MARKER)));
    // A session with a machine that stays.
    await near.run(
      `mkfifo /run/in
      for n in $(seq 12); do
        systemd-run -q --unit session-$n sh -c 'exec socat -t 120 - TCP:127.0.0.1:5432 <>/run/in >/run/out'
        until [ -s /run/out ]; do sleep 0.2; done
        grep -q ^one /run/out && exit
        systemctl stop session-$n; : >/run/out
      done; exit 1`,
      { timeout: PATIENCE },
    );
    await inSession('first');
  });

  test('a machine that loses power, and one whose wire is cut, leave their clients to the third', async () => {
    await Promise.all([vm(1).crash(), vm(2).setCable('down')]);
    assert.is(await clients(4), 'one');
    await inSession('alone');
    await vm(2).setCable('up');
    await vm(1).start();
    await untilServed('one,three,two');
  });

  test('a machine that publishes it no more is left, and used again when it does', async () => {
    const { near } = at();
    await wormhole(vm(2), 'unpublish db');
    await untilServed('one,two');
    await inSession('unpublished');
    await wormhole(vm(2), 'publish db tail url :7000');
    await near.waitFor(async () => (await keys()).includes(vm(2).address), { what: 'it to be in etcd' });
    await refresh();
    await untilServed('one,three,two');
  });

  test('etcd loses a node, and then all: clients are served as before', async () => {
    const { near } = at();
    await near.run('systemctl kill -s KILL etcd-1');
    await refresh();
    await untilServed('one,three,two');
    await near.run('systemctl kill -s KILL etcd-2 etcd-3');
    await refresh();
    assert.match(await near.journal('-t', 'wormhole-services'), /etcd does not answer.*stay in use/);
    await untilServed('one,three,two');
    await inSession('without');
  });

  test('without etcd, and with wormholed killed everywhere, one publisher that lives is enough', async () => {
    const { near, publishers } = at();
    for (const one of [near, ...publishers])
      await one.run('systemctl kill -s KILL wormholed.service', { check: false });
    await untilServed('one,three,two');
    await Promise.all([vm(1).crash(), vm(2).crash()]);
    assert.is(await clients(4), 'one');
    await inSession('last');
    await near.run('systemctl start etcd-1 etcd-2 etcd-3');
    await Promise.all([vm(1).start(), vm(2).start()]);
    await untilServed('one,three,two');
    await inSession('end');
  });
});
