import * as assert from 'uvu/assert';
import { said } from './cluster.ts';
import { fails, succeeds, traces, wormhole } from './installed.ts';
import { allGone, hears, partOn } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';
import { everything, idOf, type Three, three } from './three.ts';

/** Has port 9999 of a host lead to another one, as anyone who controls its network can, until the returned function is called. */
async function relay(from: Host, to: string): Promise<() => Promise<void>> {
  await from.run('systemctl stop wormholed-tcp.socket wormholed.service');
  await from.run(
    `systemd-run --unit relay socat TCP6-LISTEN:9999,ipv6-v6only=0,reuseaddr,fork TCP:${to}:9999
    until [ "$(ss -Hltn sport = :9999)" ]; do sleep 0.1; done`,
  );
  return async () => {
    await from.run('systemctl stop relay; systemctl start wormholed-tcp.socket');
  };
}

labSuite<Three>('machines that are not what they seem', three, (test, at) => {
  test('a relay that leads to another machine with the key is told from the machine, and nothing goes there', async () => {
    const { near, myserver, third } = at();
    await succeeds(near, 'create url :7000 remote myserver tail');
    assert.is(await hears(near, 7000), 'myserver\n');
    const ids = [await idOf(myserver), await idOf(third)] as const;
    const part = await partOn(myserver);
    const before = [await everything(near), await traces(third)];
    const end = await relay(myserver, 'third');
    const changed = new RegExp(
      `machine myserver has another identity than before: ${ids[1]}, not ${ids[0]}\\. Nothing is changed\\..* wormhole peers accept myserver ${ids[1]}$`,
      'm',
    );
    await fails(near, 'ping myserver', changed);
    await fails(near, '-H tcp://myserver list', changed);
    await fails(near, '-H tcp://myserver create url :7002 tail url :7000', changed);
    await fails(near, 'create url :7003 remote myserver tail url :7000', changed);
    assert.equal([await everything(near), await traces(third)], before);
    // What belongs to the link: a question of its forwarder, and its end.
    await myserver.run(`systemctl stop wormhole-${part.id}.socket wormhole-${part.id}.service`);
    assert.is(await hears(near, 7000), '');
    assert.match(await succeeds(near, 'list'), /^7000 .* waiting for machine myserver: .* another identity/m);
    const { stderr } = await wormhole(near, 'delete 7000');
    assert.match(
      stderr,
      /its part on machine myserver is deleted as soon as that machine can be told: .* another identity/,
    );
    assert.is(await traces(third), before[1]);
    await end();
    await near.waitFor(async () => (await succeeds(near, 'list --json')) === '[]', {
      what: 'the part to go',
      timeout: 60,
    });
    await allGone(near, myserver, third);
  });

  test('a relay that leads to the machine itself is not let in by a part', async () => {
    const { near, myserver, third } = at();
    await succeeds(near, 'ping myserver');
    const end = await relay(third, 'myserver');
    // It stands for the machine behind it, which it cannot change. But what it passes on comes from its own address.
    await near.run('rm -f /var/lib/wormhole/peers/third');
    assert.is((await succeeds(near, 'ping third')).split(' ')[1], await idOf(myserver));
    await fails(
      near,
      'create url :7000 remote third tail',
      /machine third: your machine calls from \S+, and the call arrives from \S+, so a relay or a router is in between; if that router is yours, give wormholed there -E \S+$/m,
    );
    await allGone(near, myserver, third);
    await end();
    await fails(near, 'ping third', /another identity/);
    await near.run('rm /var/lib/wormhole/peers/third');
    await succeeds(near, 'ping third');
  });

  test('a reinstalled machine is accepted with one command, on either side', async () => {
    const { near, myserver } = at();
    await succeeds(near, 'create url :7000 remote myserver tail');
    const old = await idOf(myserver);
    const reinstalled = async (host: Host) => {
      await host.run(
        'systemctl stop wormholed.service wormhole-far.service; find /var/lib/wormhole -mindepth 1 -maxdepth 1 ! -name root -exec rm -r {} +',
      );
      return idOf(host);
    };
    const fresh = await reinstalled(myserver);
    assert.is.not(fresh, old);
    await myserver.run('systemctl stop wormhole-near-7000.socket wormhole-near-7000.service');
    assert.is(await hears(near, 7000), '');
    await fails(near, 'ping myserver', new RegExp(`wormhole peers accept myserver ${fresh}$`, 'm'));
    await fails(near, `peers accept myserver ${fresh.slice(1)}`, /is not the id of a machine/, 2);
    await succeeds(near, `peers accept myserver ${fresh}`);
    assert.is(await hears(near, 7000), 'myserver\n');
    assert.match(await succeeds(near, 'peers'), new RegExp(`^${fresh} +myserver +7000 +- +- +known$`, 'm'));

    // The other way round, the part on the other machine belongs to somebody else for now.
    const [was, is] = [await idOf(near), await reinstalled(near)];
    await myserver.run('systemctl stop wormhole-near-7000.socket wormhole-near-7000.service');
    assert.is(await hears(near, 7000), '');
    assert.match(
      await succeeds(near, 'list'),
      new RegExp(
        `waiting for machine myserver: .*belongs to another machine than yours.* wormhole peers accept ${was} ${is}`,
      ),
    );
    await succeeds(myserver, `peers accept ${was} ${is}`);
    assert.is(await succeeds(myserver, 'upgrade'), '', 'its unit does not look edited');
    assert.is(await hears(near, 7000), 'myserver\n');
    await succeeds(near, 'delete 7000');
    await allGone(near, myserver);
  });

  test('only the machine that has a part can change or delete it', async () => {
    const { near, myserver, third } = at();
    await succeeds(near, 'create url :7000 remote myserver tail');
    const { id } = await partOn(myserver);
    const socket = `/etc/systemd/system/wormhole-${id}.socket`;
    const before = (await myserver.run(`cat ${socket}`)).stdout;
    const partId = /^Owned=(.*)$/m.exec(before)?.[1];
    // The units of the link, as they stand in /etc of the owner, on another machine.
    for (const unit of ['socket', 'service'])
      await third.run(`cat >/etc/systemd/system/wormhole-7000.${unit}`, {
        input: (await near.run(`cat /etc/systemd/system/wormhole-7000.${unit}`)).stdout,
      });
    await third.run('systemctl daemon-reload; wormhole upgrade; systemctl start wormhole-7000.socket');
    assert.is(await hears(third, 7000), '');
    assert.match(
      await succeeds(third, 'list'),
      /^7000 .* waiting for machine myserver: .*belongs to another machine/m,
    );
    const { stderr } = await wormhole(third, 'delete 7000');
    assert.match(
      stderr,
      /its part on machine myserver is deleted as soon as .*belongs to another machine than yours/,
    );
    assert.is((await myserver.run(`cat ${socket}`)).stdout, before);
    assert.is(await hears(near, 7000), 'myserver\n');
    await third.run(
      `systemctl stop wormhole-far.timer; rm /var/lib/wormhole/pending-deletions/part-${partId}`,
    );
    await succeeds(near, 'delete 7000');
    await allGone(near, myserver, third);
  });

  test('peers lists what there is, revoke removes it and refuses the machine, allow lets it back', async () => {
    const { near, myserver } = at();
    const id = await idOf(myserver);
    await succeeds(near, 'create url :7000 remote myserver tail');
    await succeeds(near, 'create url :7004 chain url :7005 remote myserver tail url :7000');
    await succeeds(myserver, 'create url :7001 remote near tail');
    await succeeds(myserver, '-H tcp://near create id theirs url :7006 tail url :7001');
    await succeeds(near, 'create id own url :7007 tail url :7001');
    assert.match(
      await succeeds(near, 'peers'),
      new RegExp(`^${id} +myserver +7000 7004-7005 theirs +myserver-7001 +- +known$`, 'm'),
    );
    const [listed] = JSON.parse(await succeeds(near, 'peers --json')) as Record<string, unknown>[];
    assert.equal(listed, {
      id,
      names: ['myserver'],
      links: ['7000', '7004-7005', 'theirs'],
      parts: ['myserver-7001'],
      tunnels: [],
      state: 'known',
    });

    await said(near);
    const { stdout, stderr, status } = await wormhole(near, 'peers revoke myserver');
    assert.is(status, 0, stderr);
    assert.is(stdout, `${id} removed: link 7000, link 7004-7005, link theirs, part myserver-7001\n`);
    assert.match(
      stderr,
      /^wormhole: it is refused from now on, but still has the key[^\n]*: change the key[^\n]*\n$/,
    );
    assert.match(await succeeds(near, 'list --json'), /^\[\s*\{\s*"id": "own"[^[]*$/);
    assert.match(await succeeds(near, 'peers'), new RegExp(`^${id} +myserver +- +- +- +refused$`, 'm'));
    const refused = new RegExp(
      `machine ${id} is refused here: wormhole peers allow ${id}, on this machine$`,
      'm',
    );
    for (const command of [
      'ping near',
      '-H tcp://near list',
      '-H tcp://near create url :7008 tail url :7001',
    ])
      await fails(myserver, command, refused);
    assert.is(await hears(myserver, 7001), '');
    await fails(near, 'ping myserver', new RegExp(`machine myserver \\(${id}\\) is refused here`));
    await fails(near, 'create url :7000 remote myserver tail', /is refused here/);
    await fails(near, `peers accept other ${id}`, /is refused here: wormhole peers allow/);
    assert.is((await near.run('ls /var/lib/wormhole/pending-deletions', { check: false })).stdout, '');

    assert.is(await succeeds(near, 'peers allow myserver'), id);
    await fails(near, 'peers allow myserver', /no machine "myserver" is refused here/);
    // What that machine has of its own heals.
    assert.is(await hears(myserver, 7001), 'near\n');
    await succeeds(near, 'delete own');
    // Of what was removed, it has its parts yet.
    const parts = JSON.parse(await succeeds(myserver, 'list --json')) as { id: string; owner?: string }[];
    assert.is(parts.filter(({ owner }) => owner !== undefined).length, 2);
    for (const part of parts) await succeeds(myserver, `delete ${part.id}`);
    await allGone(near, myserver);
  });

  test('a machine that is refused while it changes a link of somebody else, or finds it there, does not take it away', async () => {
    const { near, myserver } = at();
    const id = await idOf(myserver);
    await succeeds(myserver, 'ping near');
    await succeeds(near, 'create id own url :7007 tail url :7001');
    const refusedMidway = async (args: string) => {
      const lock = near.spawn('exec 9>>/run/wormhole/links.lock; flock 9; echo held; sleep 600');
      await near.waitFor(() => lock.stdout() === 'held\n', { what: 'the lock' });
      const asking = myserver.spawn(`wormhole -H tcp://near create ${args}`);
      await near.waitFor(
        async () => {
          const pid = 'systemctl show -P MainPID wormholed.service';
          const { stdout } = await near.run(`find /proc/$(${pid})/fd -lname /run/wormhole/links.lock`, {
            check: false,
          });
          return stdout !== '';
        },
        { what: 'the request to wait for the lock' },
      );
      const revoking = near.spawn('wormhole peers revoke myserver');
      await near.waitFor(
        async () =>
          (await near.run(`test -e /var/lib/wormhole/refused/${id}`, { check: false })).status === 0,
        { what: 'the machine to be refused' },
      );
      await lock.stop();
      const { stderr, status } = await asking.exited;
      assert.match(
        stderr,
        /^wormhole: machine (\S+) is refused here: wormhole peers allow \1, on this machine\n$/m,
        args,
      );
      assert.is(status, 1, args);
      await revoking.exited;
      await succeeds(near, 'peers allow myserver');
    };
    await refusedMidway('--replace id own url :7009 tail url :7001');
    assert.is(await hears(near, 7009), 'near\n');
    await refusedMidway('--if-absent id own url :7009 tail url :7001');
    assert.is(await hears(near, 7009), 'near\n');
    await refusedMidway('id new url :7010 tail url :7001');
    await refusedMidway('--replace id new url :7010 tail url :7001');
    assert.is(await hears(near, 7010), '');
    await succeeds(near, 'delete own');
    await allGone(near, myserver);
  });

  test('peers: what cannot be', async () => {
    const { near } = at();
    for (const [args, expected, status] of [
      ['peers revoke nobody', /no machine "nobody" is known here: see wormhole peers/, 1],
      ['peers revoke a/b', /"a\/b" is not a machine such as/, 2],
      ['peers allow nobody', /no machine "nobody" is refused here/, 1],
      [`peers accept a/b ${'a'.repeat(32)}`, /"a\/b" is not a machine such as/, 2],
      ['peers accept nobody', /missing required argument 'id'/, 2],
      ['peers frob', /too many arguments/, 2],
      ['-H tcp://myserver peers', /run it there, without -H/, 2],
      ['-H tcp://myserver peers revoke near', /run it there, without -H/, 2],
    ] as const)
      await fails(near, args, expected, status);
    const user = 'setpriv --reuid nobody --regid nogroup --clear-groups wormhole';
    const { stderr } = await near.run(`${user} peers revoke myserver`, { check: false });
    assert.is(stderr, 'wormhole: this needs root: sudo wormhole peers revoke myserver\n');
    assert.match((await near.run(`${user} peers`)).stdout, /^ID .*\n[0-9a-f]{32} +myserver /);
    // A machine may call itself by any of its names, and is told from others.
    await succeeds(near, 'ping 127.0.0.1');
    assert.match((await wormhole(near, 'peers')).stdout, /^[0-9a-f]{32} +127\.0\.0\.1 .* this machine$/m);
    await fails(
      near,
      'peers revoke 127.0.0.1',
      /"127\.0\.0\.1" is this machine, which does not refuse itself/,
    );
    // A machine that has not been heard of can be refused beforehand.
    const id = 'c'.repeat(32);
    assert.is((await wormhole(near, `peers revoke ${id}`)).stdout, `${id} has nothing here\n`);
    assert.is(await succeeds(near, `peers allow ${id}`), id);
  });
});
