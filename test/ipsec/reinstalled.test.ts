import * as assert from 'uvu/assert';
import { ask, blocked, hears } from './attacked.ts';
import type { Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { create, ESP, MARKER, PATIENCE, pair, traces, transfer, warmTo, wormhole } from './tunnels.ts';

/** Makes a machine what it was just after install.sh, apart from the key: it knows no machine, and no other one is told. */
async function reinstall(vm: Vm): Promise<void> {
  await vm.run(
    `systemctl stop wormholed-tcp.socket wormholed.service 'wormhole-*'
     cd /etc/systemd/system
     rm -f wormhole-tunnel@?*.service wormhole-alpha-* */wormhole-tunnel@?*.service */wormhole-alpha-*
     find /var/lib/wormhole -mindepth 1 -maxdepth 1 ! -name root -exec rm -r {} +
     rm -rf /run/wormhole
     ip xfrm state flush
     ip xfrm policy flush
     for device in $(ip -br link show type xfrm | cut -d@ -f1); do ip link delete $device; done
     systemctl daemon-reload
     systemctl reset-failed
     systemctl start wormhole-tunnel-guard.service wormhole-far.socket wormholed.socket wormholed-tcp.socket`,
    { timeout: PATIENCE },
  );
  assert.is(await traces(vm), '');
}

/** The frames that have crossed a machine's wire since `before` and have the payload, or name an inner address outside of ESP. */
function leaked(vm: Vm, before: number, addresses: string[]): number {
  const inner = addresses.map((address) => Buffer.from(address.split('.').map(Number)));
  return vm
    .frames()
    .slice(before)
    .filter(
      ({ protocol, bytes }) =>
        bytes.includes(MARKER) ||
        (protocol !== ESP && inner.some((address) => bytes.subarray(14, 34).includes(address))),
    ).length;
}

vmSuite('a reinstalled machine', pair, (test, at) => {
  let addresses: [local: string, remote: string];
  let before = 0;

  test('a link through a tunnel that nobody has asked for by hand', async () => {
    const { alpha, beta } = at();
    await beta.run(
      `systemd-run --unit serves socat TCP-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork EXEC:"echo ${MARKER}"`,
    );
    before = alpha.frames().length;
    await wormhole(alpha, 'create url :7000 tunnel beta tail');
    await hears(alpha, 'at first');
    const [{ local, remote }] = JSON.parse(await wormhole(alpha, 'tunnel-list --json'));
    addresses = [local, remote];
  });

  test('the tunnel and its guard stay, the link leads nowhere, and nothing is on the wire', async () => {
    const { alpha, beta } = at();
    const guards = await blocked(alpha);
    const unit = async () => (await alpha.run('cat /etc/systemd/system/wormhole-tunnel@*')).stdout;
    const was = await unit();
    await reinstall(beta);
    await beta.waitFor(
      async () => (await beta.run('wormhole ping', { check: false, timeout: PATIENCE })).status === 0,
      { what: 'the daemon', timeout: PATIENCE },
    );
    for (const command of ['ping beta', 'tunnel-rekey beta', 'tunnel-create beta']) {
      const { stderr, status } = await alpha.run(`wormhole ${command}`, { check: false, timeout: PATIENCE });
      assert.match(stderr, /^wormhole: machine beta has another identity than before: [^\n]+\n$/, command);
      assert.is(status, 1, command);
    }
    await alpha.run('systemctl start wormhole-tunnel-rekey@beta', { check: false, timeout: PATIENCE });
    assert.is(await ask(alpha), '');
    assert.is(await unit(), was);
    assert.equal(await blocked(alpha), guards);
    assert.is(leaked(alpha, before, addresses), 0);
    assert.is(await traces(beta), '', 'the new machine was asked for nothing');
  });

  test('accepted, it has tunnel and link again, with the addresses of before', async () => {
    const { alpha, beta } = at();
    const [, id] = (await wormhole(beta, 'ping')).split(' ');
    await wormhole(alpha, `peers accept beta ${id}`);
    await warmTo(alpha, beta);
    await hears(alpha, 'once it is accepted');
    assert.equal(await create(alpha, 'beta'), addresses);
    await transfer(alpha, beta, addresses[1]);
    assert.is(leaked(alpha, before, addresses), 0);
    assert.match(await wormhole(alpha, 'peers'), new RegExp(`^${id} +beta +7000 +- +beta +known$`, 'm'));
  });

  test('revoked, it has neither, and its keys and policies are gone', async () => {
    const { alpha, beta } = at();
    const [, id] = (await wormhole(beta, 'ping')).split(' ');
    const { stdout } = await alpha.run('wormhole peers revoke beta', { timeout: PATIENCE });
    assert.is(stdout, `${id} removed: link 7000, tunnel beta\n`);
    await alpha
      .waitFor(async () => (await traces(alpha)) === '', { what: 'all to go', timeout: PATIENCE })
      .catch(async () => assert.is(await traces(alpha), ''));
    assert.is((await alpha.run('ls /var/lib/wormhole/guards', { check: false })).stdout, '');
    for (const command of ['tunnel-create alpha', 'create url :7001 tunnel alpha tail']) {
      const { stderr } = await beta.run(`wormhole ${command}`, { check: false, timeout: PATIENCE });
      assert.match(stderr, new RegExp(`machine ${id} is refused here: wormhole peers allow ${id}`), command);
    }
    assert.is(await traces(alpha), '');
    assert.is(leaked(alpha, before, addresses), 0);
  });
});
