import * as assert from 'uvu/assert';
import { ask, blocked, hears, setDaemon } from './attacked.ts';
import type { Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { create, ESP, MARKER, PATIENCE, pair, traces, wormhole } from './tunnels.ts';

/** How many of the frames that have crossed a machine's wire since `before` name an IPv4 address outside of ESP. */
function naming(vm: Vm, address: string, before: number): number {
  const bytes = Buffer.from(address.split('.').map(Number));
  return vm
    .frames()
    .slice(before)
    .filter((frame) => frame.protocol !== ESP && frame.bytes.subarray(14, 34).includes(bytes)).length;
}

vmSuite('links without their tunnel', pair, (test, at) => {
  let local = '';
  let remote = '';

  test('a link through a tunnel, for what follows', async () => {
    const { alpha, beta } = at();
    await beta.run(
      `systemd-run --unit serves socat TCP-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork EXEC:"echo ${MARKER}"`,
    );
    await wormhole(alpha, 'create url :7000 tunnel beta tail');
    [local, remote] = await create(alpha, 'beta');
    await hears(alpha, 'at first');
    assert.match((await alpha.run('cat /run/wormhole/links/7000/far')).stdout, /^[0-9.:]+ wh-[0-9a-f]{6}\n$/);
  });

  test('tunnel-delete --force: the link has no address, and nothing of it is on the wire', async () => {
    const { alpha, beta } = at();
    await setDaemon(beta, 'stop');
    const before = alpha.frames().length;
    await alpha.run('wormhole tunnel-delete --force beta', { timeout: PATIENCE });
    assert.match(
      (await alpha.run('cat /run/wormhole/links/7000/far')).stdout,
      /^! the tunnel to beta was deleted on this machine\n$/,
    );
    assert.equal(await blocked(alpha), [`dst ${local}`, `dst ${remote}`, `dst ${remote}`]);
    assert.is(await ask(alpha), '');
    await alpha.run(`echo ${MARKER} | socat -u - UDP:${remote}:9000`, { check: false });
    await alpha.run(`ping -c 1 -W 1 ${remote}`, { check: false });
    assert.is(naming(alpha, remote, before), 0);
    assert.match(
      await wormhole(alpha, 'list'),
      /^7000 .* waiting for machine beta: .*no daemon at tcp:\/\/beta:9999/m,
    );

    // The next connection that finds the other machine asks for the tunnel again, with the addresses that are blocked already.
    await setDaemon(beta, 'start');
    await hears(alpha, 'when the other machine is back');
    assert.equal(await create(alpha, 'beta'), [local, remote]);
    assert.is(naming(alpha, remote, before), 0);
  });

  test('the other machine deletes the tunnel: the same', async () => {
    const { alpha, beta } = at();
    const before = alpha.frames().length;
    const [{ peer }] = JSON.parse(await wormhole(beta, 'tunnel-list --json'));
    await beta.run(`wormhole tunnel-delete --force ${peer}`, { timeout: PATIENCE });
    assert.match(
      (await alpha.run('cat /run/wormhole/links/7000/far')).stdout,
      /^! machine beta has deleted the tunnel\n$/,
    );
    for (const [vm, own, other] of [
      [alpha, local, remote],
      [beta, remote, local],
    ] as const) {
      assert.equal(await blocked(vm), [`dst ${own}`, `dst ${other}`, `dst ${other}`].sort(), vm.name);
      assert.is((await vm.run('ip xfrm state list nokeys; ip -br link show type xfrm')).stdout, '', vm.name);
    }
    await hears(alpha, 'after the delete there');
    assert.is(naming(alpha, remote, before), 0);
    assert.is(naming(alpha, local, before), 0);
  });

  test('without interface and policies, the forwarder connects to nothing', async () => {
    const { alpha, beta } = at();
    await setDaemon(beta, 'stop');
    const before = alpha.frames().length;
    await alpha.run(`
      ip link delete $(ip -br link show type xfrm | cut -d@ -f1)
      ip xfrm policy flush
      ip route get ${remote}`);
    assert.is(await ask(alpha), '');
    assert.is(naming(alpha, remote, before), 0);
    assert.match(
      await alpha.journal('-q', '-o', 'cat', '-u', 'wormhole-7000.service'),
      /could not be reached.*no such device|no daemon at tcp:\/\/beta:9999/i,
    );
    // A program that is not bound to the interface takes the default route.
    await alpha.run(`nc -w 1 ${remote} 9000 </dev/null`, { check: false });
    assert.ok(naming(alpha, remote, before) > 0);
    await setDaemon(beta, 'start');
    await hears(alpha, 'when the other machine is back');
  });

  test('new outer addresses: a session through the link goes on', async () => {
    const { alpha, beta } = at();
    await beta.run('systemd-run --unit echo socat TCP-LISTEN:7001,bind=127.0.0.1,reuseaddr,fork EXEC:cat');
    await wormhole(alpha, 'create url :7001 tunnel beta tail');
    // On a busy machine, the two may negotiate for longer than the 30 s for which the other machine may be silent.
    for (const vm of [alpha, beta])
      await vm.run(
        "sed -i 's/--peer-timeout 30/--peer-timeout 3600/' /etc/systemd/system/wormhole-*7001.service; systemctl daemon-reload",
      );
    const session = alpha.spawn('nc -N 127.0.0.1 7001');
    session.write('before\n');
    await alpha.waitFor(() => session.stdout() === 'before\n', { what: 'the session', timeout: PATIENCE });
    const [{ address }] = JSON.parse(await wormhole(alpha, 'tunnel-list --json'));
    const [rest, length] = address === alpha.address ? [alpha.address6, 24] : [alpha.address, 64];
    await alpha.run(`ip address delete ${address}/${length} dev eth0`);
    await wormhole(alpha, 'tunnel-create beta');
    assert.is(JSON.parse(await wormhole(alpha, 'tunnel-list --json'))[0].address, rest);
    session.write('after\n');
    await alpha.waitFor(() => session.stdout() === 'before\nafter\n', { what: 'the session to go on' });
    session.end();
    await session.exited;
    await wormhole(alpha, 'delete 7001');
    await alpha.run(`ip address add ${address}/${length} dev eth0`);
  });

  test('a reboot with the tunnel deleted: clear text is blocked before the network is up, and the link waits', async () => {
    const { alpha, beta } = at();
    await setDaemon(beta, 'stop');
    await alpha.run('wormhole tunnel-delete --force beta', { timeout: PATIENCE });
    await alpha.reboot({ allowFailed: true });
    const before = alpha.frames().length;
    assert.equal(await blocked(alpha), [`dst ${local}`, `dst ${remote}`, `dst ${remote}`]);
    assert.is(await ask(alpha), '');
    await alpha.run(`echo ${MARKER} | socat -u - UDP:${remote}:9000`, { check: false });
    assert.is(naming(alpha, remote, before), 0);
    await setDaemon(beta, 'start');
    await hears(alpha, 'after the reboot');
    assert.equal(await create(alpha, 'beta'), [local, remote]);
    assert.is(naming(alpha, remote, before), 0);
  });

  test('a link with the address of the other machine in its recipe: the same', async () => {
    const { alpha } = at();
    await wormhole(alpha, 'delete 7000');
    await wormhole(alpha, `create url :7002 tail url ${remote}:9002`);
    const before = alpha.frames().length;
    const { stderr, status } = await alpha.run('wormhole tunnel-delete beta', {
      check: false,
      timeout: PATIENCE,
    });
    assert.match(
      stderr,
      /^wormhole: the tunnel to beta is in use: wormhole delete 7002; or tunnel-delete --force/,
    );
    assert.is(status, 1);
    await wormhole(alpha, 'tunnel-delete --force beta');
    assert.equal(await blocked(alpha), [`dst ${local}`, `dst ${remote}`, `dst ${remote}`]);
    assert.is((await alpha.run('nc -w 5 127.0.0.1 7002 </dev/null', { check: false })).stdout, '');
    assert.is(naming(alpha, remote, before), 0);
    await wormhole(alpha, 'create url :7000 tunnel beta tail');
    await hears(alpha, 'in a new tunnel');
    await wormhole(alpha, 'delete 7002');
  });

  test('when the last link goes, so do the policies of the tunnel that was deleted before it', async () => {
    const { alpha, beta } = at();
    await wormhole(alpha, 'tunnel-delete --force beta');
    assert.is((await blocked(alpha)).length, 3);
    await wormhole(alpha, 'delete 7000');
    for (const vm of [alpha, beta]) {
      await vm
        .waitFor(async () => (await traces(vm)) === '', { what: `all to go on ${vm.name}` })
        .catch(async () => {
          assert.is(await traces(vm), '', vm.name);
        });
      assert.is((await vm.run('ls /var/lib/wormhole/guards', { check: false })).stdout, '');
    }
  });
});
