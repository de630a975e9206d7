import * as assert from 'uvu/assert';
import { writeKey } from './cluster.ts';
import { fails, installedHost, succeeds } from './installed.ts';
import { listens } from './listening.ts';
import { allGone, greeter, hears } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

interface Three {
  near: Host;
  primary: Host;
  standby: Host;
}

/** Two machines with a database each, and one with its clients. */
async function start(): Promise<Three> {
  const near = await installedHost({ name: 'near', docker: false });
  const primary = await installedHost({ name: 'primary', docker: false });
  const standby = await installedHost({ name: 'standby', docker: false });
  const key = (await near.run('cat /etc/wormhole/key.secret')).stdout;
  for (const host of [primary, standby]) await writeKey(host, key);
  return { near, primary, standby };
}

/** A server that starts at boot and says its name. */
async function database(host: Host): Promise<void> {
  await host.run(`
    printf '%s\\n' '[Service]' "ExecStart=socat TCP-LISTEN:5432,bind=127.0.0.1,reuseaddr,fork EXEC:'echo ${host.name}'" '[Install]' WantedBy=multi-user.target >/etc/systemd/system/database.service
    systemctl enable --now database`);
  await listens(host, 5432);
}

labSuite('a link with tails on several machines', start, (test, at) => {
  test('clients go to the first machine', async () => {
    const { near, primary, standby } = at();
    for (const host of [primary, standby]) await database(host);
    await succeeds(
      near,
      'create --balance first url :5432 remote primary tail url :5432 or remote standby tail url :5432',
    );
    assert.is(await hears(near, 5432), 'primary\n');
    assert.match(await succeeds(near, 'list'), /^5432-to-standby +tail of 5432 .*machine standby/m);
    assert.match(await succeeds(standby, 'list'), /near-5432-to-standby/);
  });

  test('when the first machine loses power, the next client is served by the second one', async () => {
    const { near, primary } = at();
    await primary.crash();
    // It is the same client that finds out: it is held, not closed.
    assert.is(await hears(near, 5432), 'standby\n');
    assert.is(await hears(near, 5432), 'standby\n');
    assert.match(await near.journal('-u', 'wormhole-5432.service'), /tail primary does not serve: /);
  });

  test('when it is back, it gets clients again, and nothing has to be repaired by hand', async () => {
    const { near, primary } = at();
    await primary.start();
    await near.waitFor(async () => (await hears(near, 5432)) === 'primary\n', {
      timeout: 90,
      what: 'the primary to get clients again',
    });
  });

  test('when only the database of a machine is down, clients go to the other one, and come back', async () => {
    const { near, primary } = at();
    await primary.run('systemctl stop database');
    const serves = (name: string, what: string) =>
      near.waitFor(async () => (await hears(near, 5432)) === `${name}\n`, { timeout: 90, what });
    await serves('standby', 'the standby to get clients');
    // The next ones do not try the primary first.
    for (let n = 0; n < 3; n++) await serves('standby', 'an answer');
    await primary.run('systemctl start database');
    await serves('primary', 'the primary to get clients again');
    assert.is(await hears(near, 5432), 'primary\n');
  });

  test('a reboot of the machine with the clients', async () => {
    const { near } = at();
    await near.reboot();
    await near.waitFor(async () => (await hears(near, 5432)) === 'primary\n', {
      timeout: 60,
      what: 'an answer',
    });
  });

  test('a tail that goes is deleted on its machine, and those that stay keep their part', async () => {
    const { near, primary, standby } = at();
    await greeter(near, 'local', 5433, 'local');
    const before = (await primary.run('ls /etc/systemd/system | grep wormhole-near')).stdout;
    await succeeds(
      near,
      'create --replace --balance first url :5432 remote primary tail url :5432 or url :5433',
    );
    assert.is((await primary.run('ls /etc/systemd/system | grep wormhole-near')).stdout, before);
    assert.is(await hears(near, 5432), 'primary\n');
    await allGone(standby);
  });

  test('a machine that cannot be reached fails the create, and nothing is left on the others', async () => {
    const { near, primary, standby } = at();
    await succeeds(near, 'delete 5432');
    await allGone(near, primary, standby);
    await fails(
      near,
      'create url :5432 remote primary tail url :5432 or remote nowhere.invalid tail url :5432',
      /nowhere.invalid/,
    );
    await allGone(near, primary, standby);
  });
});
