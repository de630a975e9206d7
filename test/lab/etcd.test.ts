import * as assert from 'uvu/assert';
import { writeKey } from './cluster.ts';
import { ETCD_PACKAGES, type Etcd, MACHINES_PASSWORD, MACHINES_USER, startEtcd } from './etcd.ts';
import { fails, installedHost, succeeds, traces } from './installed.ts';
import { listens } from './listening.ts';
import { allGone } from './pair.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

interface Fleet {
  near: Host;
  publishers: Host[];
  /** Runs three nodes of etcd. */
  registry: Host;
  etcd: Etcd;
}

async function start(): Promise<Fleet> {
  const registry = await boot({
    name: 'registry',
    docker: false,
    packages: ETCD_PACKAGES,
  });
  const etcd = await startEtcd([registry]);
  const near = await installedHost({ name: 'near', docker: false });
  const key = (await near.run('cat /etc/wormhole/key.secret')).stdout;
  const publishers: Host[] = [];
  for (const name of ['one', 'two']) {
    const host = await installedHost({ name, docker: false });
    await writeKey(host, key);
    await host.run(
      `systemd-run -q --unit database socat -t 20 TCP-LISTEN:5432,bind=127.0.0.1,reuseaddr,fork SYSTEM:'echo ${name}; cat'`,
    );
    await listens(host, 5432);
    publishers.push(host);
  }
  return { near, publishers, registry, etcd };
}

/** Who has answered four clients, one after the other. */
async function answers(host: Host): Promise<string> {
  const heard = new Set<string>();
  for (let n = 0; n < 4; n++)
    heard.add(
      (await host.run('nc -N -w 50 127.0.0.1 5432 </dev/null', { check: false, timeout: 60 })).stdout.trim(),
    );
  return [...heard].sort().join();
}

/** Waits until these machines answer, and no other. */
function areAnsweredBy(host: Host, names: string): Promise<boolean> {
  return host.waitFor(async () => (await answers(host)) === names, {
    what: `clients to be answered by ${names}`,
  });
}

labSuite('services in etcd', start, (test, at) => {
  const one = () => at().publishers[0] as Host;
  const two = () => at().publishers[1] as Host;
  const refresh = () => at().near.run('systemctl start wormhole-services@_all.service');
  /** What machines say in etcd. */
  const keys = async () => {
    const { status, stdout, stderr } = await at().etcd.ctl('get --prefix /wormhole/');
    // While nodes elect a leader, they refuse.
    if (status !== 0) throw new Error(stderr);
    return stdout;
  };

  const isUsedAgain = () =>
    one().waitFor(
      async () => {
        await one().run('systemctl start wormhole-services-register.service');
        return (await one().run('ls /run/wormhole/registration-problem', { check: false })).status !== 0;
      },
      { timeout: 60, what: 'etcd to be used again' },
    );

  test('what is wrong is said in one line', async () => {
    const { near, etcd } = at();
    const create = 'create url :5432 remote service:db';
    await near.run('echo "[Etcd]" >/etc/wormhole/etcd.conf');
    await fails(
      near,
      create,
      /^wormhole: \/etc\/wormhole\/etcd.conf cannot be used: Endpoints= is missing$/m,
    );
    await near.run('printf "%s\\n" "[Etcd]" Endpoints=https://10.90.0.250:1 >/etc/wormhole/etcd.conf');
    await fails(near, create, /^wormhole: etcd does not answer \(10.90.0.250:1: [^\n]+\)$/m);
    await etcd.configure(near);
    await near.run('chmod 644 /etc/wormhole/etcd-password');
    await fails(
      near,
      create,
      /etcd.conf cannot be used: \/etc\/wormhole\/etcd-password: it is a secret that others can read/,
    );
    await near.run('chmod 646 /etc/wormhole/etcd-ca.pem');
    await fails(
      near,
      create,
      /etcd.conf cannot be used: \/etc\/wormhole\/etcd-ca.pem: .* writable by everybody/,
    );
    await near.run('chmod 644 /etc/wormhole/etcd-ca.pem');
    await near.run('chmod 600 /etc/wormhole/etcd-password; echo wrong >/etc/wormhole/etcd-password');
    await fails(near, create, /^wormhole: etcd refuses: [^\n]*authentication failed[^\n]*$/m);
    await etcd.configure(near);
    await fails(near, create, /^wormhole: etcd names no machine of service "db"$/m);
    await allGone(near);
  });

  test('machines say what they publish, and links find them', async () => {
    const { near, etcd, publishers, registry } = at();
    for (const host of publishers) {
      await etcd.configure(host);
      await succeeds(host, 'publish db tail url :5432');
      await host.waitFor(async () => (await keys()).includes(`/wormhole/machines/${host.address}`), {
        what: 'its key',
      });
    }
    // A key that is no machine's, and one that anyone may have written.
    await etcd.ctl(`put '/wormhole/machines/;reboot' '{"services":["db"]}'`, { user: MACHINES_USER });
    await succeeds(near, 'create --balance round-robin url :5432 remote service:db');
    await areAnsweredBy(near, 'one,two');
    assert.match(await succeeds(near, 'services'), /^db +- +- +\S+, \S+ +etcd +5432/m);
    for (const host of [near, ...publishers])
      assert.not.match(await host.journal(), new RegExp(MACHINES_PASSWORD));
    // The password is sent once, and the token that etcd has given for it is for root alone.
    assert.is((await one().run('stat -c "%a %U" /run/wormhole/etcd-token')).stdout, '600 root\n');
    const times = async () =>
      (
        await registry.run(
          `for n in 1 2 3; do curl -sk https://127.0.0.1:237$n/metrics | grep 'grpc_server_started_total.*"Authenticate"' | cut -d' ' -f2; done`,
        )
      ).stdout;
    const before = await times();
    for (let n = 0; n < 3; n++) await one().run('systemctl start wormhole-services-register.service');
    assert.is(await times(), before);
  });

  test('a machine that publishes it no more is out of the list at once, and back when it does', async () => {
    const { near } = at();
    await succeeds(two(), 'unpublish db');
    await near.waitFor(async () => !(await keys()).includes(two().address), { what: 'the key to go' });
    await refresh();
    await areAnsweredBy(near, 'one');
    assert.match(await near.journal('-t', 'wormhole-services'), /service db is at [0-9.]+; it was at/);
    await succeeds(two(), 'publish db tail url :5432');
    await near.waitFor(async () => (await keys()).includes(two().address), { what: 'the key' });
    await refresh();
    await areAnsweredBy(near, 'one,two');
  });

  test('one node that is lost is not noticed, and links outlive all of them', async () => {
    const { near, registry } = at();
    await registry.run('systemctl kill -s KILL etcd-1');
    await succeeds(two(), 'unpublish db');
    await near.waitFor(async () => !(await keys()).includes(two().address), { what: 'the key to go' });
    await refresh();
    await areAnsweredBy(near, 'one');
    await succeeds(two(), 'publish db tail url :5432');
    await near.waitFor(async () => (await keys()).includes(two().address), { what: 'the key' });
    await refresh();
    // While the nodes had no leader, etcd may have been missed already, which is told by itself.
    await isUsedAgain();
    const missed = async () =>
      (await near.journal('-t', 'wormhole-services')).match(/etcd does not answer.*stay in use/g)?.length ??
      0;
    const unsaid = async () =>
      (await one().journal('-t', 'wormhole-services')).match(/does not have what is published here/g)
        ?.length ?? 0;
    const before = [await missed(), await unsaid()];
    await registry.run('systemctl kill -s KILL etcd-2 etcd-3');
    for (let n = 0; n < 2; n++) await refresh();
    await areAnsweredBy(near, 'one,two');
    for (let n = 0; n < 2; n++) await one().run('systemctl start wormhole-services-register.service');
    assert.equal(
      [await missed(), await unsaid()],
      before.map((count) => count + 1),
    );
    await registry.run('systemctl restart etcd-1 etcd-2 etcd-3');
    await isUsedAgain();
  });

  test('a lease that nobody renews takes the key along, and a boot brings it back', async () => {
    const { near, publishers } = at();
    await two().crash();
    await near.waitFor(async () => !(await keys()).includes(two().address), {
      timeout: 120,
      what: 'the lease to end',
    });
    await refresh();
    await areAnsweredBy(near, 'one');
    await two().start();
    await near.waitFor(async () => (await keys()).includes(two().address), {
      timeout: 60,
      what: 'its key to be back',
    });
    await succeeds(near, 'delete 5432');
    for (const host of publishers) await succeeds(host, 'unpublish db');
    // The part on the machine that was away is deleted in its time.
    await near.waitFor(async () => (await traces(near)) === '', { timeout: 90, what: 'the last part to go' });
    await allGone(near, ...publishers);
  });
});
