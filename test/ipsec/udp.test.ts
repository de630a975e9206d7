import * as assert from 'uvu/assert';
import { bootVm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { create, ESP, keepDaemon, MARKER, PAYLOAD, traces, transfer, warmTo, wormhole } from './tunnels.ts';

const UDP = 17;

async function hidden() {
  const [alpha, gamma] = await Promise.all([
    bootVm({ name: 'alpha' }),
    bootVm({ name: 'gamma', behindNat: true }),
  ]);
  await keepDaemon(alpha);
  await warmTo(gamma, alpha);
  return { alpha, gamma };
}

vmSuite('tunnels in UDP', hidden, (test, at) => {
  let local = '';
  let remote = '';

  test('from behind a router that hides the machine, both ways, with nothing but UDP of the range on the wire', async () => {
    const { alpha, gamma } = at();
    // A router that gives connections other ports than they have.
    await gamma.onRouter('nft flush ruleset; nft -f -', {
      input:
        'table ip nat { chain out { type nat hook postrouting priority srcnat; oifname "outside" ip protocol udp masquerade to :20000-20099; oifname "outside" masquerade; }; }\n',
    });
    [local, remote] = await create(gamma, `--udp ${alpha.address}`);
    for (const [from, to, address] of [
      [gamma, alpha, remote],
      [alpha, gamma, local],
    ] as const) {
      const frames = await transfer(from, to, address);
      assert.not(frames.some(({ bytes }) => bytes.includes(MARKER)));
      assert.not(frames.some(({ protocol }) => protocol === ESP));
      const packets = frames.filter(({ protocol, bytes }) => protocol === UDP && bytes.length > 200);
      assert.ok(packets.reduce((sum, { bytes }) => sum + bytes.length, 0) > PAYLOAD.length);
      assert.ok(Math.max(...packets.map(({ bytes }) => bytes.length - 14)) <= 1400);
      for (const { bytes } of packets)
        assert.ok([bytes.readUInt16BE(34), bytes.readUInt16BE(36)].includes(4500));
    }
    const said = await alpha.journal('-q', '-t', 'wormhole-tunnel', '-o', 'cat');
    assert.match(said, /is behind a router, which sends from port 200\d\d of/);
  });

  test('new keys, and a router that gives the connection another port', async () => {
    const { alpha, gamma } = at();
    await wormhole(gamma, `tunnel-rekey --now ${alpha.address}`);
    await transfer(alpha, gamma, local);
    await gamma.onRouter(
      'nft flush ruleset; nft -f -; conntrack -D -p udp 2>/dev/null; ip link set outside down; ip link set outside up',
      {
        input:
          'table ip nat { chain out { type nat hook postrouting priority srcnat; oifname "outside" ip protocol udp masquerade to :30000-30099; oifname "outside" masquerade; }; }\n',
      },
    );
    await alpha.waitFor(() => alpha.run('ip xfrm state list nokeys | grep "dport 300"'), {
      what: 'the new port to be learned',
    });
    await transfer(alpha, gamma, local);
  });

  test('the other machine, which cannot ask for the tunnel itself, reboots: the tunnel is recreated without a command', async () => {
    const { alpha, gamma } = at();
    await alpha.reboot({ allowFailed: true });
    const up = async () => JSON.parse(await wormhole(alpha, 'tunnel-list --json'))[0]?.state === 'up';
    await alpha.waitFor(up, { timeout: 240, what: 'the tunnel' });
    await transfer(alpha, gamma, local);
    const said = await gamma.journal('-q', '-t', 'wormhole-tunnel', '-o', 'cat');
    assert.match(said, `${alpha.address} has sent nothing for`);
  });

  test('tunnel-delete leaves nothing on either side', async () => {
    const { alpha, gamma } = at();
    await wormhole(gamma, `tunnel-delete ${alpha.address}`);
    for (const vm of [alpha, gamma]) assert.is(await traces(vm), '', vm.name);
  });
});
