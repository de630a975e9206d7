import * as assert from 'uvu/assert';
import { writeKey } from './cluster.ts';
import { ETCD_PACKAGES, type Etcd, MACHINES_USER, startEtcd } from './etcd.ts';
import { installedHost, succeeds, traces } from './installed.ts';
import { allGone } from './pair.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';
import { idOf } from './three.ts';

/* Someone who can write to the registry, and has no key: gains what doc/security.md says, and no more. */

interface Fleet {
  near: Host;
  one: Host;
  two: Host;
  /** Belongs to the one who can write to the registry: it has another key, and publishes what the others do. */
  mallory: Host;
  etcd: Etcd;
}

async function start(): Promise<Fleet> {
  const registry = await boot({ name: 'registry', docker: false, packages: ETCD_PACKAGES });
  const etcd = await startEtcd([registry]);
  const near = await installedHost({ name: 'near', docker: false });
  const key = (await near.run('cat /etc/wormhole/key.secret')).stdout;
  await etcd.configure(near);
  const publisher = async (name: string) => {
    const host = await installedHost({ name, docker: false });
    await host.run(
      `printf '%s\\n' '[Service]' "ExecStart=socat TCP-LISTEN:5432,reuseaddr,fork EXEC:'echo ${name}'" '[Install]' WantedBy=multi-user.target >/etc/systemd/system/database.service
      systemctl enable --now database`,
    );
    return host;
  };
  const [one, two, mallory] = [await publisher('one'), await publisher('two'), await publisher('mallory')];
  for (const host of [one, two]) {
    await writeKey(host, key);
    await etcd.configure(host);
  }
  for (const host of [one, two, mallory]) await succeeds(host, 'publish db tail url :5432');
  return { near, one, two, mallory, etcd };
}

labSuite('someone who can write to the registry', start, (test, at) => {
  const key = ({ address }: Host) => `/wormhole/machines/${address}`;
  const write = async (command: string, input = '') => {
    const { status, stderr } = await at().etcd.ctl(command, { user: MACHINES_USER, input });
    assert.is(status, 0, `etcdctl ${command}: ${stderr}`);
  };
  const listed = async (host: Host) => (await at().etcd.ctl(`get ${key(host)}`)).stdout.includes('"db"');
  const refresh = () => at().near.run('systemctl start wormhole-services@_all.service');
  const said = () => at().near.journal('-t', 'wormhole-services');
  /** Who has answered eight clients, one after the other; each has to be served. */
  const answers = async () => {
    const heard = new Set<string>();
    for (let n = 0; n < 8; n++)
      heard.add((await at().near.run('nc -w 50 127.0.0.1 5432 </dev/null', { timeout: 60 })).stdout.trim());
    return [...heard].sort().join();
  };

  test('a machine without the key that is listed gets no client, whatever stands beside its name', async () => {
    const { near, one, two, mallory } = at();
    for (const host of [one, two])
      await near.waitFor(() => listed(host), { what: `${host.name} to be listed` });
    await write(
      `put ${key(mallory)} '{"services":["db"],"port":5432,"recipe":"tail url :22","id":"x","weight":256,"options":{"balance":"first"}}'`,
    );
    // Names that are none, values that are none, and services that are none.
    await write(`put '/wormhole/machines/$(touch /run/owned)' '{"services":["db"]}'`);
    await write(`put '/wormhole/machines/10.90.0.99\nExecStart=/bin/touch /run/owned' '{"services":["db"]}'`);
    await write(`put /wormhole/machines/10.90.0.98 'no JSON'`);
    await write(`put /wormhole/machines/10.90.0.97 '{"services":["../../db","db\\nExecStart=x"]}'`);
    const { stderr, status } = await near.run(
      'wormhole create --balance round-robin url :5432 remote service:db',
      { check: false, timeout: 120 },
    );
    assert.is(status, 0, stderr);
    assert.match(stderr, new RegExp(`^[^\\n]*${mallory.address}[^\\n]*\\n$`));
    assert.is(await answers(), 'one,two');
    await refresh();
    assert.is(await answers(), 'one,two');
    assert.is(await traces(mallory), '');
    assert.is((await near.run('ls /run/owned', { check: false })).status, 2);
    assert.not.match(await succeeds(near, 'services'), /10\.90\.0\.9[789]/);
  });

  test('a list of machines of which none can be used does not replace the one in use', async () => {
    const { near, one, two, mallory } = at();
    for (const host of [one, two])
      await host.run('systemctl stop wormhole-services-register.timer wormhole-services-register.service');
    // Both at once, up to the key of mallory, or a look at the list between finds one of them left.
    await write(`del ${key(one)} ${key(mallory)}`);
    await refresh();
    await near.waitFor(async () => /link 5432 stays as it is: .*is at 10\.[0-9.]+ now/.test(await said()), {
      what: 'a line in the journal',
    });
    const reports = async () => (await said()).match(/stays as it is/g)?.length;
    const reported = await reports();
    for (let n = 0; n < 2; n++) await refresh();
    assert.is(await reports(), reported, 'it is reported once');
    assert.is(await answers(), 'one,two');
    await write(`del ${key(mallory)}`);
    await refresh();
    assert.match(
      await said(),
      /etcd names no machine of service "db"\. The machines known before stay in use/,
    );
    assert.is(await answers(), 'one,two');
    // More than is read of any answer.
    const value = JSON.stringify({ services: ['db'], filler: 'x'.repeat(1_000_000) });
    for (let n = 0; n < 5; n++) await write(`put /wormhole/machines/10.90.1.${n}`, value);
    await refresh();
    assert.match(await said(), /an answer of more than \d+ bytes.*stay in use/);
    assert.is(await answers(), 'one,two');
    await write('del --prefix /wormhole/machines/10.90.1.');
  });

  test('machines put back what was deleted of them, or changed', async () => {
    const { near, one, two } = at();
    await write(`put ${key(two)} '{"services":["other"]}'`);
    for (const host of [one, two]) await host.run('systemctl start wormhole-services-register.timer');
    for (const host of [one, two])
      await near.waitFor(() => listed(host), { what: `${host.name} to be listed` });
    // With its lease: it goes when nobody renews that.
    const { stdout } = await at().etcd.ctl(`get -w json ${key(two)}`);
    assert.match(stdout, /"lease":[1-9]/);
    await refresh();
    assert.is(await answers(), 'one,two');
  });

  test('a machine with another id than the pinned one is refused, also with the key', async () => {
    const { near, one, two } = at();
    const pinned = await idOf(two);
    // In this order: what renews the key would put it back.
    await two.run('systemctl stop wormhole-services-register.timer wormhole-services-register.service');
    await write(`del ${key(two)}`);
    await refresh();
    await near.waitFor(async () => (await succeeds(two, 'list --json')) === '[]', {
      timeout: 90,
      what: 'the part on two to go',
    });
    assert.is(await answers(), 'one');
    // In its place, another machine of the fleet.
    await two.run('rm /var/lib/wormhole/identity.secret; systemctl stop wormholed.service');
    const other = await idOf(two);
    assert.is.not(other, pinned);
    await write(`put ${key(two)} '{"services":["db"]}'`);
    await refresh();
    const refused = new RegExp(`another identity than before: ${other}, not ${pinned}`);
    assert.is(await answers(), 'one');
    assert.match(
      `${await said()}${await near.journal('-t', 'wormhole-far')}${await near.journal('-u', 'wormhole-5432-*')}`,
      refused,
    );
    assert.is(await succeeds(two, 'list --json'), '[]');
    // As the only one, it does not replace the list in use.
    await one.run('systemctl stop wormhole-services-register.timer wormhole-services-register.service');
    await write(`del ${key(one)}`);
    await refresh();
    assert.is(await answers(), 'one');
    assert.is(await succeeds(two, 'list --json'), '[]');
  });

  test('delete leaves nothing', async () => {
    const { near, one, two, mallory } = at();
    await succeeds(near, `peers accept ${two.address} ${await idOf(two)}`);
    await succeeds(near, 'delete 5432');
    // What a machine has refused to delete is tried again; the one without the key might have a part yet, as far as near can tell.
    await writeKey(mallory, (await near.run('cat /etc/wormhole/key.secret')).stdout);
    const isGone = async () => {
      await near.run('systemctl start wormhole-far.service');
      assert.is(await traces(near), '');
      return true;
    };
    await near.waitFor(isGone, { timeout: 90, what: 'the last part to go' });
    for (const host of [one, two, mallory]) await succeeds(host, 'unpublish db');
    for (const host of [one, two]) await host.run('systemctl start wormhole-services-register.service');
    await allGone(near, one, two, mallory);
  });
});
