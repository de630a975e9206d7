import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { sessionDirectory, sessionName } from '../lab/rig/session.ts';
import { inject, onWire } from './rig/segment.ts';
import { bootVm, type Vm } from './rig/vm.ts';
import type { Frame } from './rig/wire.ts';
import { vmSuite } from './suite.ts';

const marker = 'in-clear-text-for-all-to-see';
const payload = Buffer.alloc(2_000_000, `${marker}\n`);

const esp = 50;
const showsMarker = ({ bytes }: Frame) => bytes.includes(marker);

/** Sends the payload from one machine to an address of the other, and returns what has crossed the wire meanwhile. */
async function transfer(from: Vm, to: Vm, address: string): Promise<Frame[]> {
  const before = from.frames().length;
  const listening = to.spawn(`socat -u TCP-LISTEN:9000,bind=${address} OPEN:/root/got,creat,trunc`);
  await to.waitFor(() => to.run('ss -Hltn sport = 9000 | grep .'), { what: 'the receiver' });
  await from.run(`socat -u - TCP:${address}:9000`, { input: payload });
  assert.is((await listening.exited).status, 0);
  await to.run('cmp - got', { input: payload });
  return from.frames().slice(before);
}

const keys = { there: `0x${randomBytes(36).toString('hex')}`, back: `0x${randomBytes(36).toString('hex')}` };

/** One end of a tunnel made by hand, from `lo` to `ro` between `me` and `peer`; `out` and `in` are SPI and key. */
function tunnelEnd(me: string, peer: string, lo: string, ro: string, out: string, into: string): string {
  const template = 'proto esp reqid 7 mode tunnel';
  const state = `${template} if_id 7 replay-window 128 flag esn aead rfc4106(gcm(aes))`;
  return `link add wh-peer type xfrm dev eth0 if_id 7
addr add ${lo} peer ${ro} dev wh-peer
link set wh-peer up
xfrm policy add src ${lo} dst ${ro} dir out if_id 7 tmpl src ${me} dst ${peer} ${template}
xfrm policy add src ${ro} dst ${lo} dir in  if_id 7 tmpl src ${peer} dst ${me} ${template}
xfrm policy add src ${ro} dst ${lo} dir fwd if_id 7 tmpl src ${peer} dst ${me} ${template}
xfrm state add src ${peer} dst ${me} proto esp spi ${into.replace(' ', ` ${state.replace('proto esp ', '')} `)} 128
xfrm state add src ${me} dst ${peer} proto esp spi ${out.replace(' ', ` ${state.replace('proto esp ', '')} `)} 128
`;
}

vmSuite(
  'virtual machines',
  async () => {
    const [alpha, beta, gamma] = await Promise.all([
      bootVm({ name: 'alpha', docker: true }),
      bootVm({ name: 'beta' }),
      bootVm({ name: 'gamma', behindNat: true }),
    ]);
    return { alpha, beta, gamma };
  },
  (test, at) => {
    test('they run systemd, the Node of the tests and an installed Wormhole with one key', async () => {
      const { alpha, beta } = at();
      assert.is((await alpha.run('systemctl is-system-running')).stdout, 'running\n');
      assert.is((await alpha.run('hostname')).stdout, 'alpha\n');
      assert.is((await alpha.run('node --version')).stdout, `${process.version}\n`);
      assert.match((await alpha.run('wormhole --version')).stdout, /^\d+\.\d+\.\d+\n$/);
      assert.is((await beta.run('systemctl is-active wormholed-tcp.socket')).stdout, 'active\n');
      const key = async (vm: Vm) => (await vm.run('cat /etc/wormhole/key.secret')).stdout;
      assert.is(await key(alpha), await key(beta));
      assert.is((await alpha.run('command -v docker && docker info')).status, 0);
      assert.is.not((await beta.run('systemctl is-active docker', { check: false })).status, 0);
    });

    test('commands report output, status and failure, run at once, and end when they are stopped', async () => {
      const { alpha } = at();
      const result = await alpha.run('cat; echo warning >&2; exit 3', { input: 'in', check: false });
      assert.equal(result, { stdout: 'in', stderr: 'warning\n', status: 3 });
      const late = await alpha.run('sleep 1234', { timeout: 1 }).catch((error: Error) => error.message);
      assert.match(String(late), 'no end after 3 s: alpha# sleep 1234');
      const cat = alpha.spawn('cat; sleep 1234');
      cat.write('one\n');
      await alpha.waitFor(() => cat.stdout() === 'one\n', { what: 'cat to answer' });
      assert.is((await cat.stop()).status, 143);
      await alpha.waitFor(() => alpha.run('! pgrep -x sleep'), { what: 'sleep to have been killed' });
    });

    test('they reach each other by name, and an unprotected transfer can be read on the wire', async () => {
      const { alpha, beta } = at();
      await alpha.run('ping -4 -c 1 -W 9 beta');
      await beta.run('ping -6 -c 1 -W 9 alpha');
      const frames = await transfer(alpha, beta, beta.address);
      assert.ok(frames.some(showsMarker));
      assert.not.ok(frames.some(({ protocol }) => protocol === esp));
    });

    test('a tunnel made by hand carries the same bytes, and none of them can be read', async () => {
      const { alpha, beta } = at();
      const [a, b] = [alpha.address, beta.address];
      const there = `0x1001 ${keys.there}`;
      const back = `0x1002 ${keys.back}`;
      const lay = (vm: Vm, batch: string) => vm.run('ip -batch -', { input: batch });
      await lay(alpha, tunnelEnd(a, b, '100.65.0.1', '100.65.0.2', there, back));
      await lay(beta, tunnelEnd(b, a, '100.65.0.2', '100.65.0.1', back, there));
      const frames = await transfer(alpha, beta, '100.65.0.2');
      assert.not.ok(frames.some(showsMarker));
      const encrypted = frames.filter(({ protocol }) => protocol === esp);
      assert.ok(encrypted.reduce((sum, { bytes }) => sum + bytes.length, 0) > payload.length);
    });

    test('a frame that is sent again arrives again, and a packet of the tunnel is refused then', async () => {
      const { alpha, beta } = at();
      // With extended sequence numbers an older one than the window reaches back to is taken for a much later one.
      const sent = alpha
        .frames()
        .filter(({ bytes, protocol }) => protocol === esp && bytes.indexOf(macOf(beta)) === 0)
        .at(-1);
      assert.ok(sent);
      const same = () => beta.frames().filter(({ bytes }) => bytes.equals(sent.bytes)).length;
      assert.is(same(), 1);
      await inject(sent.bytes);
      await beta.waitFor(() => same() === 2, { what: 'the frame to arrive' });
      await beta.waitFor(
        () => beta.run("awk '/XfrmInStateSeqError/ && $2 > 0' /proc/net/xfrm_stat | grep ."),
        {
          what: 'the kernel to refuse it',
        },
      );
    });

    test('a cable is pulled out and put back', async () => {
      const { alpha, beta } = at();
      await beta.setCable('down');
      assert.is((await alpha.run(`ping -c 1 -W 2 ${beta.address}`, { check: false })).status, 1);
      await beta.setCable('up');
      await alpha.waitFor(() => alpha.run('ping -c 1 -W 2 beta'), { what: 'the mended cable' });
    });

    test('a machine behind a router reaches the others, which see the router only', async () => {
      const { alpha, gamma } = at();
      const before = alpha.frames().length;
      await gamma.run('ping -c 1 -w 30 alpha');
      const crossed = alpha.frames().slice(before);
      assert.ok(crossed.some(({ bytes }) => bytes.includes(ipv4(gamma.outside), 26)));
      assert.not.ok(crossed.some(({ bytes }) => bytes.includes(ipv4(gamma.address), 26)));
      assert.is((await alpha.run(`ping -c 1 -W 2 ${gamma.address}`, { check: false })).status, 1);
      await gamma.onRouter(
        `nft 'add chain ip nat in { type nat hook prerouting priority dstnat; }' &&
         nft add rule ip nat in iifname outside tcp dport 9000 dnat to ${gamma.address}`,
      );
      const listening = gamma.spawn('echo through | socat - TCP-LISTEN:9000');
      await gamma.waitFor(() => gamma.run('ss -Hltn sport = 9000 | grep .'), { what: 'the listener' });
      assert.is((await alpha.run('socat -u TCP:gamma:9000 -')).stdout, 'through\n');
      await listening.stop();
    });

    test('what is on the disk survives a reboot and a power cut', async () => {
      const { beta } = at();
      await beta.run('echo kept >kept; sync kept');
      const id = async () => (await beta.run('cat /proc/sys/kernel/random/boot_id')).stdout;
      const before = await id();
      await beta.reboot();
      assert.is.not(await id(), before);
      await beta.crash();
      const off = await beta.run('true').catch((error: Error) => error.message);
      assert.is(off, 'beta is off');
      await beta.start();
      assert.is((await beta.run('cat kept')).stdout, 'kept\n');
    });

    test('a database in a container without a network answers in its namespace', async () => {
      const { alpha } = at();
      await alpha.run('docker run -d --name db --network none wormhole/mysql');
      const ask = () => alpha.container('db').runInNetwork('mysql -u root -h 127.0.0.1 -Ne "select 6 * 7"');
      assert.is(await alpha.waitFor(async () => (await ask()).stdout, { what: 'the database' }), '42\n');
    });

    test('power off leaves nothing behind', async () => {
      const { gamma } = at();
      await gamma.powerOff();
      assert.not.ok(existsSync(join(sessionDirectory, 'gamma')));
      assert.not.ok(existsSync(`/run/netns/${sessionName}-nat-gamma`));
      await onWire('! ip link show port4', { check: true });
    });
  },
);

const ipv4 = (address: string) => Buffer.from(address.split('.').map(Number));

/** The hardware address of a machine on the wire. */
function macOf(vm: Vm): Buffer {
  return Buffer.from([0x52, 0x54, 0x00, 0x91, 0x00, Number(vm.outside.split('.').at(-1))]);
}
