import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Answers } from '../hostile-peer.ts';
import type { Running } from '../lab/rig/shell.ts';
import { waitFor } from '../lab/rig/wait.ts';
import { spawnOnWire } from './rig/segment.ts';
import type { Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { create, ESP, MARKER, PATIENCE, pair, traces, transfer, wormhole } from './tunnels.ts';

const directory = mkdtempSync(join(tmpdir(), 'wormhole-hostile-'));
process.on('exit', () => rmSync(directory, { recursive: true }));

/** A third machine on the wire, 10.91.0.1, with the key of the others. */
async function thirdMachine(vm: Vm, answers: Answers): Promise<Running> {
  const key = join(directory, 'key');
  writeFileSync(key, (await vm.run('cat /etc/wormhole/key.secret')).stdout, { mode: 0o600 });
  const machine = spawnOnWire(
    `exec node --import tsx test/hostile-peer.ts ${key} '${JSON.stringify(answers)}'`,
  );
  await waitFor(() => machine.stdout().includes('listening'), { what: 'the third machine', timeout: 30 });
  return machine;
}

/** Everything that the kernel and the unit of a tunnel say, without what counts and ages. */
async function stateOf(vm: Vm): Promise<string> {
  const { stdout } = await vm.run(`
    ip xfrm state list nokeys | grep -e ^src -e spi
    ip xfrm policy list
    ip -br address show type xfrm
    cat /etc/systemd/system/wormhole-tunnel@*.service
    cat /run/wormhole/far/*`);
  return stdout;
}

/** How many of the frames that have crossed a machine's wire since `before` name an IPv4 address outside of ESP. */
function naming(vm: Vm, address: string, before: number): number {
  const bytes = Buffer.from(address.split('.').map(Number));
  return vm
    .frames()
    .slice(before)
    .filter((frame) => frame.protocol !== ESP && frame.bytes.subarray(14, 34).includes(bytes)).length;
}

vmSuite('tunnels under attack', pair, (test, at) => {
  let local = '';
  let remote = '';

  const ask = async (alpha: Vm) =>
    (await alpha.run('nc -w 60 127.0.0.1 7000 </dev/null', { check: false, timeout: 90 })).stdout;
  const hears = (alpha: Vm, when: string) =>
    alpha.waitFor(async () => (await ask(alpha)).includes(MARKER), {
      what: `an answer ${when}`,
      timeout: PATIENCE,
    });
  const blocked = async (vm: Vm) =>
    (await vm.run('ip xfrm policy list | grep -B1 "action block" | grep -o "dst [0-9.]*"')).stdout
      .trim()
      .split('\n')
      .sort();
  const setDaemon = async (vm: Vm, state: 'start' | 'stop') =>
    vm.run(`systemctl ${state} wormholed-tcp.socket; systemctl ${state} wormholed.service`, {
      timeout: PATIENCE,
    });

  test('a link through a tunnel, for what follows', async () => {
    const { alpha, beta } = at();
    await beta.run(
      `systemd-run --unit serves socat TCP-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork EXEC:"echo ${MARKER}"`,
    );
    await wormhole(alpha, 'create url :7000 tunnel beta tail');
    [local, remote] = await create(alpha, 'beta');
    await hears(alpha, 'at first');
    assert.match((await alpha.run('cat /run/wormhole/far/7000')).stdout, /^[0-9.:]+ wh-[0-9a-f]{6}\n$/);
  });

  test('a relay that leads to a third machine with the key: nothing is changed, and it is told', async () => {
    const { alpha, beta } = at();
    const third = await thirdMachine(alpha, {
      'GET /v1/version': [200, { version: '0.1.0', api: 1 }],
      'GET /v1/tunnels/with/': [200, { machine: 'f'.repeat(16) }],
    });
    await setDaemon(beta, 'stop');
    const relay = beta.spawn('socat TCP6-LISTEN:9999,reuseaddr,fork TCP:10.91.0.1:9999');
    const before = await stateOf(alpha);
    for (const command of [
      'wormhole tunnel-rekey beta',
      'wormhole tunnel-rekey --now beta',
      'wormhole tunnel-create beta',
      'systemctl start wormhole-tunnel-rekey@beta',
    ]) {
      const { stderr, status } = await alpha.run(command, { check: false, timeout: PATIENCE });
      assert.is(status, 1, command);
      if (command.startsWith('wormhole'))
        assert.match(stderr, /^wormhole: another machine answers for beta: [^\n]+\n$/, command);
      assert.is(await stateOf(alpha), before, command);
    }
    assert.match(third.stdout(), /GET \/v1\/tunnels\/with\//);
    assert.match(await wormhole(alpha, 'tunnel-list'), /^beta .* up .* another machine answers for beta: /m);
    assert.match(
      (await alpha.run('journalctl -q -o cat -t wormhole-tunnel')).stdout,
      /^wormhole: another machine answers for beta: .*; the tunnel to beta keeps its keys/m,
    );
    await relay.stop();
    await third.stop();
    await setDaemon(beta, 'start');
    await transfer(alpha, beta, remote);
    await wormhole(alpha, 'tunnel-rekey --now beta');
    assert.not.match(await wormhole(alpha, 'tunnel-list'), /another machine/);
    await hears(alpha, 'after the relay');
  });

  test('tunnel-delete --force: the link has no address, and nothing of it is on the wire', async () => {
    const { alpha, beta } = at();
    await setDaemon(beta, 'stop');
    const before = alpha.frames().length;
    await alpha.run('wormhole tunnel-delete --force beta', { timeout: PATIENCE });
    assert.match(
      (await alpha.run('cat /run/wormhole/far/7000')).stdout,
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
      (await alpha.run('cat /run/wormhole/far/7000')).stdout,
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
      (await alpha.run('journalctl -q -o cat -u wormhole-7000.service')).stdout,
      /could not be reached.*no such device|no daemon at tcp:\/\/beta:9999/i,
    );
    // Whoever is not bound to the interface goes the default way.
    await alpha.run(`nc -w 1 ${remote} 9000 </dev/null`, { check: false });
    assert.ok(naming(alpha, remote, before) > 0);
    await setDaemon(beta, 'start');
    await hears(alpha, 'when the other machine is back');
  });

  test('new outer addresses: a session through the link goes on', async () => {
    const { alpha, beta } = at();
    await beta.run('systemd-run --unit echo socat TCP-LISTEN:7001,bind=127.0.0.1,reuseaddr,fork EXEC:cat');
    await wormhole(alpha, 'create url :7001 tunnel beta tail');
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
