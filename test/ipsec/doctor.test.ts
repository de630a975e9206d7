import * as assert from 'uvu/assert';
import type { Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { create, PATIENCE, pair, wormhole } from './tunnels.ts';

/* What `wormhole doctor` finds of tunnels, and repairs, where the kernel has them. */

vmSuite('doctor and tunnels', pair, (test, at) => {
  test('a tunnel that is fine, and a link through it, are not mentioned', async () => {
    const { alpha, beta } = at();
    await create(alpha, 'beta');
    await beta.run('systemd-run --unit echo socat TCP-LISTEN:7000,bind=127.0.0.1,fork,reuseaddr EXEC:cat');
    await wormhole(alpha, 'create id through url :7000 tunnel beta tail');
    assert.is(await wormhole(alpha, 'doctor'), 'nothing wrong');
    const hops = await wormhole(alpha, 'doctor --link through');
    assert.match(hops, /^ok +through the tunnel to beta is up$/m);
    assert.match(hops, /^ok +through \S+ accepts connections$/m);
    assert.match(hops, /^link through: no fault found$/m);
  });

  // The machines reach each other by IPv6 addresses.
  test('an MTU that does not fit the path', async () => {
    const { alpha } = at();
    const name = await interfaceOf(alpha);
    await alpha.run(`ip link set ${name} mtu 1500`);
    const { stdout, status } = await doctor(alpha, '');
    assert.match(
      stdout,
      /^the tunnel to beta: its MTU is 1500, and 1326 fits its path: larger packets are lost on the way: systemctl start wormhole-tunnel-rekey@beta\.service sets it$/m,
    );
    assert.is(status, 1);
    const fixed = (await doctor(alpha, '--fix')).stdout;
    assert.equal(fixed, 'repaired: the tunnel to beta: set its MTU\nnothing wrong\n');
    assert.match((await alpha.run(`ip link show ${name}`)).stdout, / mtu 1326 /);
  });

  test('a tunnel that is down is brought up by --fix', async () => {
    const { alpha } = at();
    await alpha.run(
      `ip link delete ${await interfaceOf(alpha)}; systemctl stop wormhole-tunnel@beta.service`,
    );
    assert.match(
      (await doctor(alpha, '--link through')).stdout,
      /^link through breaks at: the tunnel to beta is down/m,
    );
    const { stdout, status } = await doctor(alpha, '--fix');
    assert.match(stdout, /^repaired: the tunnel to beta: it is up$/m);
    assert.match(stdout, /^nothing wrong$/m);
    assert.is(status, 0);
  });

  test('a tunnel whose creation was killed is repaired by --fix', async () => {
    const { alpha } = at();
    const machine = (
      await alpha.run('sed -n s/^PeerMachine=//p /etc/systemd/system/wormhole-tunnel@beta.service')
    ).stdout.trim();
    await alpha.run(`touch /run/wormhole/tunnels/initiating-${machine}`);
    const { stdout } = await doctor(alpha, '--fix');
    assert.match(
      stdout,
      /^repaired: the tunnel to machine [0-9a-f]{32}: removed what was left of it, or had it checked$/m,
    );
    assert.match(stdout, /^nothing wrong$/m);
  });
});

async function interfaceOf(vm: Vm): Promise<string> {
  return (await vm.run("ip -br link show type xfrm | sed 's/[@ ].*//'")).stdout.trim();
}

function doctor(vm: Vm, args: string) {
  return vm.run(`wormhole doctor ${args}`, { check: false, timeout: PATIENCE });
}
