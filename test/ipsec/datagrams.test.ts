import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import type { Vm } from './rig/vm.ts';
import type { Frame } from './rig/wire.ts';
import { vmSuite } from './suite.ts';
import { ESP, pair, traces, wormhole } from './tunnels.ts';

/* Links of datagrams through tunnels. */

const [TCP, UDP] = [6, 17];

/** Sizes around those of the packets on the wire, which have 1,400 bytes at most, and the largest and the smallest. */
const SIZES = [1, 0, 1300, 1399, 1400, 1472, 1473, 9000, 65_507, 0, 1];

/** What a datagram of that size consists of: udp-sizes.mjs. */
const contents = (size: number) => `x${size}`.repeat(3);

const PROGRAMS = ['udp-server.mjs', 'udp-sizes.mjs', 'udp-clients.mjs'];

/** Sends COUNT datagrams of SIZE bytes in one call (UDP_SEGMENT, udp(7)), and expects each of them back. */
const JOINED = `
  use Socket; my ($size, $count) = @ARGV; alarm 30;
  socket(S, PF_INET, SOCK_DGRAM, 0); connect(S, sockaddr_in(5300, inet_aton("127.0.0.1")));
  setsockopt(S, 17, 103, pack("i", $size)) or die "UDP_SEGMENT: $!";
  my $all = join "", map { chr($_) x $size } 1..$count;
  send(S, $all, 0) == length $all or die "send: $!";
  for (my %seen; keys %seen < $count; $seen{$m} = 1) {
    defined recv(S, our $m, 65535, 0) or die "recv: $!";
    length $m == $size or die length($m) . " bytes";
  }
  print "$count answers\\n"`;

/** Sends datagrams of all sizes, which have to come back. Returns what crossed the wire meanwhile. */
async function exchange(from: Vm): Promise<Frame[]> {
  // On a busy machine, the forwarders of both ends need seconds to start.
  const isUp = async () =>
    (await from.run('node udp-clients.mjs 5300 1 1', { timeout: 60 })).stdout === '1 right, 0 wrong\n';
  await from.waitFor(isUp, { what: 'the first answer', timeout: 120 });
  const before = from.frames().length;
  await from.run(`node udp-sizes.mjs 5300 ${SIZES.join(' ')}`, { timeout: 120 });
  return from.frames().slice(before);
}

function inClear(frames: Frame[]): number[] {
  return SIZES.filter((size) => size > 100 && frames.some(({ bytes }) => bytes.includes(contents(size))));
}

vmSuite('datagrams through tunnels', pair, (test, at) => {
  test('without a tunnel the wire shows them', async () => {
    const { alpha, beta } = at();
    for (const vm of [alpha, beta])
      for (const program of PROGRAMS)
        await vm.copyIn(fileURLToPath(new URL(`../lab/${program}`, import.meta.url)), '/root');
    await beta.run('systemd-run --unit echo node /root/udp-server.mjs 5301');
    await wormhole(alpha, 'create url udp://:5300 remote beta tail url :5301');
    const frames = await exchange(alpha);
    assert.equal(
      inClear(frames),
      SIZES.filter((size) => size > 100),
    );
    await wormhole(alpha, 'delete 5300');
  });

  test('datagrams of all sizes come back through a tunnel, and the wire shows ESP alone', async () => {
    const { alpha } = at();
    assert.is(
      await wormhole(alpha, 'create url udp://:5300 tunnel beta tail url :5301'),
      '5300 udp://127.0.0.1:5300',
    );
    const frames = await exchange(alpha);
    assert.equal(inClear(frames), []);
    assert.not.ok(frames.some(({ protocol }) => protocol === UDP || protocol === TCP));
    const packets = frames.filter(({ protocol }) => protocol === ESP);
    const bytes = packets.reduce((sum, frame) => sum + frame.bytes.length, 0);
    assert.ok(bytes > 2 * SIZES.reduce((sum, size) => sum + size, 0), `${bytes} bytes of ESP`);
    assert.ok(Math.max(...packets.map((frame) => frame.bytes.length - 14)) <= 1400);
  });

  test('the right answer to each of many clients, and joined datagrams arrive', async () => {
    const { alpha } = at();
    const before = alpha.frames().length;
    assert.is(
      (await alpha.run('node udp-clients.mjs 5300 100 25', { timeout: 300 })).stdout,
      '100 right, 0 wrong\n',
    );
    // Below what fits in a packet of the tunnel, and above it.
    for (const size of [1200, 1400])
      assert.is(
        (await alpha.run(['perl', '-e', JOINED, `${size}`, '20'], { timeout: 60 })).stdout,
        '20 answers\n',
      );
    const frames = alpha.frames().slice(before);
    assert.ok(frames.some(({ protocol }) => protocol === ESP));
    assert.not.ok(frames.some(({ protocol }) => protocol === UDP || protocol === TCP));
    assert.not.ok(frames.some((frame) => frame.bytes.includes('question ')));
  });

  test('through ESP in UDP the wire shows UDP of the tunnel alone', async () => {
    const { alpha, beta } = at();
    await wormhole(alpha, 'delete 5300');
    await wormhole(alpha, 'tunnel-delete beta');
    await wormhole(alpha, 'create url udp://:5300 udptunnel beta tail url :5301');
    const frames = await exchange(alpha);
    assert.equal(inClear(frames), []);
    assert.not.ok(frames.some(({ protocol }) => protocol === ESP || protocol === TCP));
    const packets = frames.filter(({ protocol }) => protocol === UDP);
    assert.ok(packets.length > 0);
    // The header of IPv6 has 40 bytes, that of IPv4 without options 20.
    const others = packets.filter(({ bytes }) => {
      const ports = 14 + (bytes.readUInt8(14) >> 4 === 6 ? 40 : 20);
      return ![bytes.readUInt16BE(ports), bytes.readUInt16BE(ports + 2)].includes(4500);
    });
    assert.equal(
      others.map(({ bytes }) => bytes.subarray(14, 60).toString('hex')),
      [],
    );
    await wormhole(alpha, 'delete 5300');
    await wormhole(alpha, 'tunnel-delete beta');
    for (const vm of [alpha, beta]) assert.is(await traces(vm), '', vm.name);
  });
});
