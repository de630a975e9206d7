import * as assert from 'uvu/assert';
import { inject, onWire } from './rig/segment.ts';
import type { Vm } from './rig/vm.ts';
import { vmSuite } from './suite.ts';
import { counter, create, ESP, MARKER, PAYLOAD, pair, traces, transfer, wormhole } from './tunnels.ts';

const clear = (frames: { bytes: Buffer }[]) => frames.filter(({ bytes }) => bytes.includes(MARKER)).length;

/** The first bytes of a frame with an IP packet in it, as a packet that was no longer than that from the beginning. */
function cut(frame: Buffer, length: number): Buffer {
  const short = Buffer.from(frame.subarray(0, length));
  const ip = short.subarray(14);
  if (ip.readUInt8(0) >> 4 === 6) {
    ip.writeUInt16BE(ip.length - 40, 4);
    return short;
  }
  ip.writeUInt16BE(ip.length, 2);
  ip.writeUInt16BE(0, 10);
  let sum = 0;
  for (let offset = 0; offset < 20; offset += 2) sum += ip.readUInt16BE(offset);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  ip.writeUInt16BE(~sum & 0xffff, 10);
  return short;
}

vmSuite('tunnels', pair, (test, at) => {
  let local = '';
  let remote = '';

  test('without a tunnel the wire shows what is sent, with one it shows ESP alone, in packets of at most 1400 bytes', async () => {
    const { alpha, beta } = at();
    assert.ok(clear(await transfer(alpha, beta, beta.address)) > 0);
    [local, remote] = await create(alpha, 'beta');
    assert.match(local, /^100\.6[4-7]\./);
    const frames = await transfer(alpha, beta, remote);
    assert.is(clear(frames), 0);
    const esp = frames.filter(({ protocol }) => protocol === ESP);
    assert.ok(esp.reduce((sum, { bytes }) => sum + bytes.length, 0) > PAYLOAD.length);
    assert.ok(Math.max(...esp.map(({ bytes }) => bytes.length - 14)) <= 1400);
    assert.ok(Math.max(...esp.map(({ bytes }) => bytes.length - 14)) > 1390);
    await transfer(beta, alpha, local);
  });

  test('a path that carries 1400 bytes and says nothing of it does not stop a transfer', async () => {
    const { alpha, beta } = at();
    // A bridge drops what is longer than the port's MTU, as a black hole would: without a word.
    const narrow = (mtu: number) =>
      onWire(`for port in $(ls /sys/class/net/bridge/brif); do ip link set $port mtu ${mtu}; done`);
    const ping = (bytes: number, seconds = 30) =>
      alpha.run(`ping -4 -c 1 -W ${seconds} -M do -s ${bytes - 28} beta`, { check: false });
    assert.is((await ping(1500)).status, 0);
    await narrow(1400);
    try {
      assert.is((await ping(1400)).status, 0);
      assert.is.not((await ping(1401, 2)).status, 0);
      await transfer(alpha, beta, remote);
      await transfer(beta, alpha, local);
    } finally {
      await narrow(1500);
    }
  });

  test('a second tunnel-create, by whatever name and from either side, prints the same addresses', async () => {
    const { alpha, beta } = at();
    for (const name of [beta.address, beta.address6, 'beta:9999'])
      assert.equal(await create(alpha, name), [local, remote], name);
    assert.equal(await create(beta, 'alpha'), [remote, local]);
    const outer = { alpha: beta.address6, beta: alpha.address6 };
    for (const vm of [alpha, beta]) {
      const [tunnel, ...others] = JSON.parse(await wormhole(vm, 'tunnel-list --json'));
      assert.equal(others, []);
      assert.is(tunnel.state, 'up');
      assert.is(tunnel.peerAddress, outer[vm.name as keyof typeof outer]);
      assert.ok(tunnel.received.bytes > PAYLOAD.length);
    }
    const [far] = JSON.parse(await wormhole(alpha, '-H tcp://beta tunnel-list --json'));
    assert.is(far.remote, local);
  });

  test('metrics have the figures of the tunnel, which only root sees, and the service of metrics has them too', async () => {
    const { alpha } = at();
    const figures = (text: string) =>
      new Map(
        [...text.matchAll(/^(wormhole_tunnel_\w+)\{.*?peer="beta"(?:,(\w+="\w+"))?.*\} (\S+)$/gm)].map(
          ([, name = '', label = '', value]) => [`${name} ${label}`.trim(), Number(value)],
        ),
      );
    const device = (await alpha.run('ls -d /sys/class/net/wh*')).stdout.trim();
    const counted = async () => {
      const names = ['rx_bytes', 'tx_bytes', 'rx_packets', 'tx_packets'];
      const { stdout } = await alpha.run(`cd ${device}/statistics; cat ${names.join(' ')}`);
      return stdout.trim().split('\n').map(Number);
    };
    const [tunnel] = JSON.parse(await wormhole(alpha, 'tunnel-list --json'));
    const before = await counted();
    const found = figures(await wormhole(alpha, 'metrics'));
    const after = await counted();
    assert.is(found.get('wormhole_tunnel_up'), 1);
    assert.is(found.get('wormhole_tunnel_associations direction="in"'), tunnel.associations.in);
    assert.is(found.get('wormhole_tunnel_last_rekey_timestamp_seconds'), Date.parse(tunnel.lastRekey) / 1000);
    for (const [at, name] of ['received_bytes', 'sent_bytes', 'received_packets', 'sent_packets'].entries()) {
      // A machine sends something now and then that nobody has asked for.
      const [least = Number.NaN, most = Number.NaN] = [before[at], after[at]];
      const figure = found.get(`wormhole_tunnel_${name}_total`) ?? Number.NaN;
      assert.ok(least > 0 && least <= figure && figure <= most, `${name}: ${least}, ${figure}, ${most}`);
    }
    for (const reason of ['replay', 'window', 'authentication'])
      assert.is(found.get(`wormhole_tunnel_discarded_packets_total reason="${reason}"`), 0);
    const asNobody = await alpha.run('setpriv --reuid=65534 --regid=65534 --clear-groups wormhole metrics');
    assert.is(asNobody.stderr, '');
    assert.is(figures(asNobody.stdout).size, 0);
    await alpha.run('systemctl start wormhole-metrics.socket');
    const served = await alpha.run(
      'bash -c \'exec 3<>/dev/tcp/127.0.0.1/9998; printf "GET /metrics HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3\'',
      { timeout: 90 },
    );
    assert.equal([...figures(served.stdout).keys()], [...found.keys()], served.stdout);
    await alpha.run('systemctl stop wormhole-metrics.socket wormhole-metrics.service');
  });

  test('a unit that somebody has spoilt is told, and its tunnel carries on', async () => {
    const { alpha, beta } = at();
    const unit = '/etc/systemd/system/wormhole-tunnel@beta.service';
    await alpha.run(`sed -i.whole s/^Local=.*/Local=somewhere/ ${unit}`);
    const { stderr, status } = await alpha.run('wormhole tunnel-list', { check: false });
    assert.match(stderr, /^wormhole: wormhole-tunnel@beta\.service cannot be read: [^\n]*Local=[^\n]*\n$/);
    assert.is(status, 1);
    await transfer(alpha, beta, remote);
    await alpha.run(`mv ${unit}.whole ${unit}`);
  });

  test('a machine reaches its own address, and clear text from the wire does not', async () => {
    const { alpha } = at();
    const listener = alpha.spawn(`socat TCP-LISTEN:9001,fork,bind=${local} EXEC:"echo hello"`);
    await alpha.waitFor(() => alpha.run('ss -Hltn sport = 9001 | grep .'), { what: 'the listener' });
    assert.is((await alpha.run(`socat -u TCP:${local}:9001 -`)).stdout, 'hello\n');
    const blocked = await counter(alpha, 'XfrmInPolBlock');
    await onWire(`ip route add ${local} via ${alpha.address}`);
    const reached = await onWire(`socat -u TCP:${local}:9001,connect-timeout=3 -`, { check: false });
    await onWire(`ip route delete ${local}`);
    assert.is(reached.stdout, '');
    assert.ok((await counter(alpha, 'XfrmInPolBlock')) > blocked);
    await listener.stop();
  });

  test('packets that are sent again, cut or changed count as errors, and change nothing else', async () => {
    const { alpha, beta } = at();
    const { bytes } = alpha
      .frames()
      .filter(({ protocol, bytes }) => protocol === ESP && bytes.length > 1000)
      .at(-1) as { bytes: Buffer };
    // Which machine is number 2 on the wire depends on which one was quicker to be plugged in.
    const to = bytes[5] === Number(alpha.outside.split('.').at(-1)) ? alpha : beta;
    const before = (await to.run('ip -s xfrm state list nokeys')).stdout.match(/\d+\(packets\)/g);
    const errors = async () =>
      (await counter(to, 'XfrmInStateSeqError')) + (await counter(to, 'XfrmInStateProtoError'));
    const flipped = Buffer.from(bytes);
    flipped[700] = (flipped[700] ?? 0) ^ 1;
    const frames = { 'is sent again': bytes, 'is changed': flipped, 'is cut': cut(bytes, 400) };
    for (const [kind, frame] of Object.entries(frames)) {
      const count = await errors();
      // Again each time: a virtual machine that has stood still may have lost one.
      const isRefused = async () => {
        await inject(frame);
        return (await errors()) > count;
      };
      await to.waitFor(isRefused, { what: `the packet that ${kind} to be refused` });
    }
    const after = (await to.run('ip -s xfrm state list nokeys')).stdout.match(/\d+\(packets\)/g);
    assert.equal(after, before);
    await transfer(alpha, beta, remote);
  });

  test('without security associations, or without its interface, nothing passes in the clear; tunnel-create mends both', async () => {
    const { alpha, beta } = at();
    for (const loss of [
      'ip xfrm state flush',
      'ip link delete $(ip -br link show type xfrm | cut -d@ -f1)',
    ]) {
      await alpha.run(loss);
      const before = alpha.frames().length;
      await alpha.run(`echo ${MARKER} | socat -u - UDP:${remote}:9000`, { check: false });
      await alpha.run(`ping -c 1 -W 1 ${remote}`, { check: false });
      await alpha.run('ping -c 1 -w 30 beta');
      assert.is(clear(alpha.frames().slice(before)), 0, loss);
      assert.equal(await create(alpha, 'beta'), [local, remote], loss);
      await transfer(alpha, beta, remote);
    }
  });

  test('six times new keys under a running transfer, which loses no byte', async () => {
    const { alpha, beta } = at();
    const receiver = beta.spawn(`socat -u TCP-LISTEN:9002,bind=${remote} OPEN:/root/got,creat,trunc`);
    await beta.waitFor(() => beta.run('ss -Hltn sport = 9002 | grep .'), { what: 'the receiver' });
    const sender = alpha.spawn(
      `rm -f sent stop; until [ -e stop ]; do head -c 20000 /dev/urandom | tee -a sent; sleep 0.4; done | socat -u - TCP:${remote}:9002`,
    );
    const spis = new Set<string>();
    const [tunnel] = JSON.parse(await wormhole(beta, 'tunnel-list --json'));
    for (let round = 0; round < 6; round++) {
      if (round % 3 === 0) await wormhole(beta, `tunnel-rekey --now ${tunnel.peer}`);
      else await wormhole(alpha, 'tunnel-rekey --now beta');
      for (const spi of (await alpha.run('ip xfrm state list nokeys')).stdout.match(/spi 0x\w+/g) ?? [])
        spis.add(spi);
    }
    await alpha.run('systemd-run -q --wait wormhole tunnel-rekey --now beta', { timeout: 60 });
    await alpha.run('journalctl --sync');
    const rekeyed =
      'journalctl -q -o cat WORMHOLE_EVENT=rekeyed WORMHOLE_PEER=beta SYSLOG_IDENTIFIER=wormhole-tunnel';
    assert.is((await alpha.run(rekeyed)).stdout, 'the tunnel to beta has new keys\n');
    await alpha.run('touch stop');
    assert.is((await sender.exited).status, 0);
    assert.is((await receiver.exited).status, 0);
    const sum = async (vm: Vm, file: string) => (await vm.run(`sha256sum < ${file}`)).stdout;
    assert.is(await sum(alpha, 'sent'), await sum(beta, 'got'));
    assert.ok(spis.size >= 12, `${spis.size} SPIs`);
    await alpha.waitFor(
      async () => (await alpha.run('ip xfrm state list nokeys | grep -c ^src')).stdout === '2\n',
      {
        what: 'the old security associations to end',
      },
    );
  });

  test('keys are in no command line, environment, journal or file', async () => {
    const { alpha, beta } = at();
    const watch =
      'while :; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; sleep 0.1; done >/run/watched 2>/dev/null';
    const watchers = [alpha, beta].map((vm) => vm.spawn(watch));
    await alpha.run('ip xfrm state flush');
    await create(alpha, 'beta');
    await wormhole(alpha, 'tunnel-rekey --now beta');
    const keys = (await alpha.run('ip xfrm state')).stdout.match(/0x[0-9a-f]{72}/g) ?? [];
    assert.ok(keys.length >= 2);
    for (const watcher of watchers) await watcher.stop();
    for (const vm of [alpha, beta]) {
      assert.match((await vm.run('tr -d "\\0" </run/watched | grep -c wormhole')).stdout, /^[1-9]/);
      await vm.run('journalctl --sync; journalctl -a -o export >/run/journal');
      const patterns = keys.flatMap((key) => {
        const hex = key.slice(2);
        return ['-e', hex, '-e', Buffer.from(hex, 'hex').toString('base64').slice(0, 40)];
      });
      const places = '/run /etc /tmp /var/tmp /var/log /var/lib/systemd /var/lib/wormhole';
      const found = await vm.run(`grep -rlaiFs ${patterns.join(' ')} ${places}`, { check: false });
      assert.is(found.stdout, '', vm.name);
    }
  });

  test('tunnel-delete leaves nothing on either machine', async () => {
    const { alpha, beta } = at();
    await wormhole(alpha, 'tunnel-delete beta');
    for (const vm of [alpha, beta]) assert.is(await traces(vm), '', vm.name);
    const again = await alpha.run('wormhole tunnel-delete beta', { check: false });
    assert.is(again.stderr, 'wormhole: no tunnel to "beta": see wormhole tunnel-list\n');
    assert.is(again.status, 1);
  });

  test('both machines create at once: one tunnel, and both print its addresses', async () => {
    const { alpha, beta } = at();
    const [here, there] = await Promise.all([create(alpha, beta.address), create(beta, alpha.address)]);
    assert.equal(here, there.toReversed());
    for (const vm of [alpha, beta]) {
      const [{ peerAddress }, ...others] = JSON.parse(await wormhole(vm, 'tunnel-list --json'));
      assert.equal([peerAddress, others], [vm === alpha ? beta.address : alpha.address, []]);
      assert.is((await vm.run('ls /etc/systemd/system | grep -c wormhole-tunnel@')).stdout, '1\n');
    }
    await transfer(alpha, beta, here[1]);
    await wormhole(beta, `tunnel-delete ${alpha.address}`);
  });
});
