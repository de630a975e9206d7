import * as assert from 'uvu/assert';
import { succeeds, traces } from './installed.ts';
import { allGone, greeter, hears, type Pair, pair, partOn } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* Commands and daemons that are killed between two of their steps: what the next command makes of it. */

const UNITS = '/etc/systemd/system';

/** When a process is killed: when it brings a directory to the disk for the nth time, which it does after each file. */
interface Moment {
  directory: string;
  nth: number;
}

/** A socket and a service are written. */
const BOTH_UNITS = { directory: UNITS, nth: 2 };

function strace({ directory, nth }: Moment): string {
  return `strace -f -q -o /run/strace -e trace=fsync -P ${directory} -e inject=fsync:signal=KILL:when=${nth}`;
}

/** Runs `wormhole ARGS`, which is killed. */
async function killed(host: Host, args: string, at: Moment): Promise<void> {
  const { status, stderr } = await host.run(`${strace(at)} wormhole ${args}`, { check: false });
  assert.is(status, 137, `wormhole ${args} was not killed: ${stderr}`);
}

/** Has wormholed killed while `work` is done, however that ends. */
async function withDaemonKilled(host: Host, at: Moment, work: () => Promise<unknown>): Promise<void> {
  await host.run('systemctl start wormholed');
  const pid = (await host.run('systemctl show -P MainPID wormholed')).stdout.trim();
  const tracer = host.spawn(`exec ${strace(at)} -p ${pid}`);
  const isTraced = async () =>
    !(await host.run(`grep TracerPid /proc/${pid}/status`)).stdout.endsWith('\t0\n');
  await host.waitFor(isTraced, { what: 'wormholed to be traced' });
  await work();
  const end = (await tracer.exited) && (await host.run('cat /run/strace')).stdout;
  assert.match(end, /killed by SIGKILL/, 'wormholed was killed');
}

/** What a host has of units of these names, and what of them has failed. */
async function loaded(host: Host, pattern: string): Promise<string> {
  return (await host.run(`systemctl list-units --all --plain --no-legend '${pattern}'`)).stdout;
}

labSuite<Pair>('commands that are killed', pair, (test, at) => {
  test('create --if-absent again: what the killed one had begun is not taken for a link', async () => {
    const { near } = at();
    const create = 'create --if-absent id half url :7100 tail url :7000';
    await killed(near, create, BOTH_UNITS);
    await near.run(`test -e ${UNITS}/wormhole-half.socket`);
    await succeeds(near, create);
    await succeeds(near, 'create id other url :7101 tail url :7000');
    assert.match(await succeeds(near, 'list'), /^half /m);
    await near.run('systemctl is-enabled wormhole-half.socket');
    await succeeds(near, 'delete half other');
    await allGone(near);
  });

  test('create again, with a container whose name was said: it is not taken by what is left', async () => {
    const { near } = at();
    const create =
      "create id named url :7100 tail url :7000 docker-run '--name said wormhole/tools sleep infinity'";
    await near.run(
      `wormhole ${create} & until docker inspect said >/dev/null 2>&1; do sleep 0.02; done; kill -9 $!; ! wait $!`,
    );
    await succeeds(near, create);
    await succeeds(near, 'delete named');
    await allGone(near);
  });

  test('delete, when the files are gone: the next command has systemd forget the units, the failed one too', async () => {
    const { near } = at();
    await succeeds(near, "create id ends url :7100 trigger url :7000 docker-run 'wormhole/tools false'");
    await hears(near, 7100);
    await near.run('systemctl is-failed wormhole-ends-run.service');
    await killed(near, 'delete ends', { directory: UNITS, nth: 1 });
    await near.run(`! test -e ${UNITS}/wormhole-ends.socket`);
    assert.match(await loaded(near, 'wormhole-ends*'), /wormhole-ends-run.service .* failed/);
    await succeeds(near, 'create id other url :7101 tail url :7000');
    assert.is(await loaded(near, 'wormhole-ends*'), '');
    assert.is(await loaded(near, 'wormhole-netns@*'), '');
    await succeeds(near, 'delete other');
    await allGone(near);
  });

  test('upgrade, when a file is written: the next one has systemd read them', async () => {
    const { near } = at();
    await succeeds(near, 'create id old url :7100 tail url :7000');
    await near.run(
      `sed -i '/^LimitCORE=/d; /^# Digest/d' ${UNITS}/wormhole-old.service; systemctl daemon-reload`,
    );
    await killed(near, 'upgrade --force', { directory: UNITS, nth: 1 });
    await near.run(`grep -q ^LimitCORE= ${UNITS}/wormhole-old.service`);
    await succeeds(near, 'upgrade');
    assert.is((await near.run('systemctl show -P NeedDaemonReload wormhole-old.service')).stdout, 'no\n');
    await succeeds(near, 'delete old');
    await near.run('rm /var/lib/wormhole/replaced/*');
    await allGone(near);
  });

  test('wormholed, when it has written the units of a part: the next client is served', async () => {
    const { near, myserver } = at();
    await greeter(myserver, 'greets', 7000, 'myserver');
    await succeeds(near, 'create url :7000 trigger remote myserver tail');
    await withDaemonKilled(myserver, BOTH_UNITS, () => hears(near, 7000));
    await near.waitFor(async () => (await hears(near, 7000)) === 'myserver\n', {
      what: 'the part to be created',
    });
    await succeeds(near, 'create url :7001 remote myserver tail url :7000');
    assert.is(await hears(near, 7001), 'myserver\n');
    assert.is(await hears(near, 7000), 'myserver\n');
    await succeeds(near, 'delete 7000 7001');
    await allGone(near, myserver);
  });

  test('wormholed, when it has written another address of a part: the next client is served there', async () => {
    const { near, myserver } = at();
    await succeeds(near, 'create url :7000 remote myserver tail');
    assert.is(await hears(near, 7000), 'myserver\n');
    const { id } = await partOn(myserver);
    // It loses the address by which it was reached.
    await myserver.run(`ip address del ${myserver.address6}/64 dev eth0`);
    await withDaemonKilled(myserver, BOTH_UNITS, () => hears(near, 7000));
    await near.waitFor(async () => (await hears(near, 7000)) === 'myserver\n', {
      what: 'the part to listen at its other address',
    });
    assert.match(
      (await myserver.run(`systemctl show -P Listen wormhole-${id}.socket`)).stdout,
      new RegExp(`^${myserver.address}:`),
    );
    await myserver.run(`ip address add ${myserver.address6}/64 dev eth0 nodad`);
    await succeeds(near, 'delete 7000');
    await allGone(near, myserver);
  });

  test('wormholed, when the files of a part are gone: the owner deletes it again, and nothing stays loaded', async () => {
    const { near, myserver } = at();
    await succeeds(near, 'create url :7000 remote myserver tail');
    assert.is(await hears(near, 7000), 'myserver\n');
    await withDaemonKilled(myserver, { directory: UNITS, nth: 1 }, () =>
      near.run('wormhole delete 7000', { check: false }),
    );
    // Nobody gives another command: its timer has it tell the other machine, once a minute.
    await near.waitFor(async () => (await traces(near)) === '', { what: 'the deletion to be carried out' });
    await allGone(near, myserver);
  });

  test('publish and unpublish: given again, they end what the former recipe had made on the machine', async () => {
    const { near, myserver } = at();
    await greeter(myserver, 'greets-too', 7001, 'other');
    await near.run('mkdir -p /etc/wormhole/services.d; echo myserver >/etc/wormhole/services.d/db');
    await succeeds(myserver, 'publish db tail url :7000');
    await succeeds(near, 'create url :7000 remote service:db');
    assert.is(await hears(near, 7000), 'myserver\n');
    const published = { directory: '/etc/wormhole/published.d', nth: 1 };
    await killed(myserver, 'publish db tail url :7001', published);
    await succeeds(myserver, 'publish db tail url :7001');
    await near.waitFor(async () => (await hears(near, 7000)) === 'other\n', { what: 'the new recipe' });
    await killed(myserver, 'unpublish db', published);
    await succeeds(myserver, 'unpublish db');
    assert.is(await succeeds(myserver, 'list --json'), '[]');
    await succeeds(near, 'delete 7000');
    await allGone(near, myserver);
  });
});
