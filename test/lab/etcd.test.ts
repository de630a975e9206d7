import * as assert from 'uvu/assert';
import { writeKey } from './cluster.ts';
import { fails, installedHost, succeeds, traces } from './installed.ts';
import { allGone } from './pair.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

interface Fleet {
  near: Host;
  publishers: Host[];
  /** Runs three nodes of etcd. */
  registry: Host;
}

const NODES = [1, 2, 3];
const PASSWORD = 'correct horse';

/** Three nodes of etcd with TLS, which let only a user with a password in. */
async function startEtcd(registry: Host): Promise<void> {
  await registry.run(`
    mkdir -p /root/tls && cd /root/tls
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=lab -keyout ca.key -out ca.pem 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=etcd -keyout key.pem -out req.pem 2>/dev/null
    printf 'subjectAltName=IP:${registry.address},IP:127.0.0.1' >names
    openssl x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem 2>/dev/null`);
  const cluster = NODES.map((n) => `n${n}=http://127.0.0.1:238${n}`).join();
  for (const n of NODES)
    await registry.run(`
      cat >/etc/systemd/system/etcd-${n}.service <<EOF
      [Service]
      Environment=ETCD_UNSUPPORTED_ARCH=arm64
      ExecStart=etcd --name n${n} --data-dir /var/lib/etcd-${n} --listen-peer-urls http://127.0.0.1:238${n} --initial-advertise-peer-urls http://127.0.0.1:238${n} \\
        --initial-cluster ${cluster} --initial-cluster-state new --listen-client-urls https://0.0.0.0:237${n} --advertise-client-urls https://${registry.address}:237${n} \\
        --cert-file /root/tls/cert.pem --key-file /root/tls/key.pem
EOF
      systemctl daemon-reload; systemctl start etcd-${n}`);
  const etcdctl = `ETCDCTL_API=3 etcdctl --endpoints https://127.0.0.1:2371 --cacert /root/tls/ca.pem`;
  await registry.waitFor(
    async () => (await registry.run(`${etcdctl} put ready yes`, { check: false })).status === 0,
    { timeout: 60, what: 'etcd' },
  );
  await registry.run(`
    ${etcdctl} user add root --new-user-password root
    ${etcdctl} user grant-role root root
    ${etcdctl} role add machines
    ${etcdctl} role grant-permission machines readwrite --prefix /wormhole/machines/
    ${etcdctl} user add wormhole --new-user-password '${PASSWORD}'
    ${etcdctl} user grant-role wormhole machines
    ${etcdctl} auth enable`);
}

/** Says on a host where etcd is. */
async function useEtcd(host: Host, registry: Host): Promise<void> {
  const { stdout: ca } = await registry.run('cat /root/tls/ca.pem');
  await host.run('cat >/etc/wormhole/etcd-ca.pem', { input: ca });
  await host.run(`
    printf '%s\\n' '[Etcd]' 'Endpoints=${NODES.map((n) => `https://${registry.address}:237${n}`).join(' ')}' CertificateAuthority=/etc/wormhole/etcd-ca.pem \\
      User=wormhole PasswordFile=/etc/wormhole/etcd-password >/etc/wormhole/etcd.conf
    (umask 077; echo '${PASSWORD}' >/etc/wormhole/etcd-password)`);
}

async function start(): Promise<Fleet> {
  const registry = await boot({
    name: 'registry',
    docker: false,
    packages: ['etcd-server', 'etcd-client', 'openssl'],
  });
  await startEtcd(registry);
  const near = await installedHost({ name: 'near', docker: false });
  const key = (await near.run('cat /etc/wormhole/key.secret')).stdout;
  const publishers: Host[] = [];
  for (const name of ['one', 'two']) {
    const host = await installedHost({ name, docker: false });
    await writeKey(host, key);
    await host.run(
      `systemd-run -q --unit database socat TCP-LISTEN:5432,bind=127.0.0.1,reuseaddr,fork SYSTEM:'echo ${name}; cat'`,
    );
    publishers.push(host);
  }
  return { near, publishers, registry };
}

/** Who has answered four clients, one after the other. */
async function answers(host: Host): Promise<string> {
  const heard = new Set<string>();
  for (let n = 0; n < 4; n++)
    heard.add(
      (await host.run('nc -N -w 20 127.0.0.1 5432 </dev/null', { check: false, timeout: 60 })).stdout.trim(),
    );
  return [...heard].sort().join();
}

labSuite('services in etcd', start, (test, at) => {
  const one = () => at().publishers[0] as Host;
  const two = () => at().publishers[1] as Host;
  const refresh = () => at().near.run('systemctl start wormhole-services@_all.service');
  /** What machines say in etcd. */
  const keys = async () =>
    (
      await at().registry.run(
        'ETCDCTL_API=3 etcdctl --endpoints https://127.0.0.1:2373 --cacert /root/tls/ca.pem --user root:root get --prefix /wormhole/',
      )
    ).stdout;

  test('what is wrong is said in one line', async () => {
    const { near, registry } = at();
    const create = 'create url :5432 remote service:db';
    await near.run('echo "[Etcd]" >/etc/wormhole/etcd.conf');
    await fails(
      near,
      create,
      /^wormhole: \/etc\/wormhole\/etcd.conf cannot be used: Endpoints= is missing$/m,
    );
    await near.run('printf "%s\\n" "[Etcd]" Endpoints=https://10.90.0.250:1 >/etc/wormhole/etcd.conf');
    await fails(near, create, /^wormhole: etcd does not answer \(10.90.0.250:1: [^\n]+\)$/m);
    await useEtcd(near, registry);
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
    await useEtcd(near, registry);
    await fails(near, create, /^wormhole: etcd names no machine of service "db"$/m);
    await allGone(near);
  });

  test('machines say what they publish, and links find them', async () => {
    const { near, registry, publishers } = at();
    for (const host of publishers) {
      await useEtcd(host, registry);
      await succeeds(host, 'publish db tail url :5432');
      await host.waitFor(async () => (await keys()).includes(`/wormhole/machines/${host.address}`), {
        what: 'its key',
      });
    }
    // A key that is no machine's, and one that anyone may have written.
    await registry.run(
      `ETCDCTL_API=3 etcdctl --endpoints https://127.0.0.1:2371 --cacert /root/tls/ca.pem --user wormhole:'${PASSWORD}' put '/wormhole/machines/;reboot' '{"services":["db"]}'`,
    );
    await succeeds(near, 'create --balance round-robin url :5432 remote service:db');
    assert.is(await answers(near), 'one,two');
    assert.match(await succeeds(near, 'services'), /^db +- +- +\S+, \S+ +etcd +5432/m);
    for (const host of [near, ...publishers]) assert.not.match(await host.journal(), new RegExp(PASSWORD));
  });

  test('a machine that publishes it no more is out of the list at once, and back when it does', async () => {
    const { near } = at();
    await succeeds(two(), 'unpublish db');
    await near.waitFor(async () => !(await keys()).includes(two().address), { what: 'the key to go' });
    await refresh();
    assert.is(await answers(near), 'one');
    assert.match(await near.journal('-t', 'wormhole-services'), /service db is at [0-9.]+; it was at/);
    await succeeds(two(), 'publish db tail url :5432');
    await near.waitFor(async () => (await keys()).includes(two().address), { what: 'the key' });
    await refresh();
    assert.is(await answers(near), 'one,two');
  });

  test('one node that is lost is not noticed, and links outlive all of them', async () => {
    const { near, registry } = at();
    await registry.run('systemctl kill -s KILL etcd-1');
    await succeeds(two(), 'unpublish db');
    await near.waitFor(async () => !(await keys()).includes(two().address), { what: 'the key to go' });
    await refresh();
    assert.is(await answers(near), 'one');
    await succeeds(two(), 'publish db tail url :5432');
    await near.waitFor(async () => (await keys()).includes(two().address), { what: 'the key' });
    await refresh();
    await registry.run('systemctl kill -s KILL etcd-2 etcd-3');
    for (let n = 0; n < 2; n++) await refresh();
    assert.is(await answers(near), 'one,two');
    const lines = (await near.journal('-t', 'wormhole-services')).match(/etcd does not answer.*stay in use/g);
    assert.is(lines?.length, 1);
    for (let n = 0; n < 2; n++) await one().run('systemctl start wormhole-services-register.service');
    const told = (await one().journal('-t', 'wormhole-services')).match(
      /does not have what is published here/g,
    );
    assert.is(told?.length, 1);
    await registry.run('systemctl restart etcd-1 etcd-2 etcd-3');
    await near.waitFor(
      async () => {
        await one().run('systemctl start wormhole-services-register.service');
        return (await one().run('ls /run/wormhole/registration-problem', { check: false })).status !== 0;
      },
      { timeout: 60, what: 'etcd to be used again' },
    );
  });

  test('a lease that nobody renews takes the key along, and a boot brings it back', async () => {
    const { near, publishers } = at();
    await two().crash();
    await near.waitFor(async () => !(await keys()).includes(two().address), {
      timeout: 120,
      what: 'the lease to end',
    });
    await refresh();
    assert.is(await answers(near), 'one');
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
