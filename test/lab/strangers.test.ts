import * as assert from 'uvu/assert';
import { KEY_FILE, writeKey } from './cluster.ts';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import { greeter, hears } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* What users of a machine, and strangers on its network, can do to Wormhole without a key. */

const UNIT = '/etc/systemd/system/wormhole-tunnel@beta.service';

/** The unit file of a tunnel in UDP: all that the service which holds its socket looks at. */
const tunnel = (host: Host, other: Host) => `[Service]
Type=oneshot
ExecStart=true
[X-Wormhole]
Tunnel=1a2b3c4d5e6f7081
Peer=beta
PeerMachine=${'b'.repeat(32)}
Address=${host.address}
PeerAddress=${other.address}
Local=100.64.0.2
Remote=100.64.0.3
Mode=udp
Asked=yes
KeyFile=/etc/wormhole/key.secret
`;

/** Sends datagrams as fast as it can: junk, hellos of unknown tunnels, and hellos of the known one with a wrong signature. */
const FLOOD = (target: string, count: number) => `node -e '
  const socket = require("dgram").createSocket("udp4");
  const hello = (id) => Buffer.concat([Buffer.alloc(4), Buffer.from(id, "hex"), Buffer.alloc(8, 1), Buffer.alloc(32, 2)]);
  const all = [Buffer.alloc(64, 7), Buffer.alloc(52), hello("00".repeat(8)), hello("1a2b3c4d5e6f7081")];
  let left = ${count};
  const more = () => {
    for (let n = 0; n < 50 && left > 0; n++) socket.send(all[left-- % all.length], 4500, "${target}");
    if (left > 0) setImmediate(more); else setTimeout(() => socket.close(), 200);
  };
  more();'`;

labSuite<{ near: Host; beta: Host }>(
  'users and strangers',
  async () => {
    const near = await installedHost({ name: 'near', docker: false });
    const beta = await installedHost({ name: 'beta', docker: false });
    await writeKey(near, (await beta.run(`cat ${KEY_FILE}`)).stdout);
    await greeter(beta, 'greeter', 7000, 'beta');
    return { near, beta };
  },
  (test, at) => {
    test('a control group that is called like a forwarder of a link asks for nothing', async () => {
      const { near } = at();
      await succeeds(near, 'create url :7000 trigger remote beta tail');
      const asked = async () =>
        (await near.journal('-q', '-o', 'cat', '-t', 'wormhole-far')).includes('7000');
      const group = 'user.slice/user-1000.slice/user@1000.service/app.slice/wormhole-7000.service';
      const other = 'system.slice/other.service/wormhole-7000.service';
      for (const path of [group, other])
        for (const uid of [1000, 0])
          await near.run(
            `group=/sys/fs/cgroup/${path}; mkdir -p $group; echo $$ >$group/cgroup.procs
             exec setpriv --reuid ${uid} --clear-groups nc -w 5 -U /run/wormhole-far.sock </dev/null`,
            { check: false },
          );
      assert.not.ok(await asked());
      assert.is(await hears(near, 7000), 'beta\n');
      await near.waitFor(asked, { what: 'the forwarder to ask', timeout: 30 });
      await succeeds(near, 'delete 7000');
      await near.run(`find /sys/fs/cgroup/user.slice/user-1000.slice -depth -type d -exec rmdir {} +`, {
        check: false,
      });
      await leavesNothing(near);
    });

    test('a user who opens a thousand connections to wormhole-far.sock keeps no forwarder from asking', async () => {
      const { near } = at();
      const flood = near.spawn(`exec setpriv --reuid nobody --clear-groups node -e '
        const { connect } = require("net");
        let open = 0;
        const more = () => connect("/run/wormhole-far.sock", () => open++ < 1000 && more())
          .on("error", () => setTimeout(more, 10)).on("close", more);
        for (let n = 0; n < 100; n++) more();'`);
      await succeeds(near, 'create url :7001 trigger remote beta tail url :7000');
      for (let n = 0; n < 3; n++) {
        await near.run('systemctl stop wormhole-7001.service; rm -f /run/wormhole/links/7001/far');
        assert.is(await hears(near, 7001), 'beta\n');
      }
      await flood.stop('SIGKILL');
      await near.waitFor(
        async () =>
          (await near.run('systemctl is-active wormhole-far.service', { check: false })).stdout !==
          'active\n',
        { what: 'the service to end', timeout: 60 },
      );
      await succeeds(near, 'delete 7001');
      await leavesNothing(near);
    });

    test('a hundred thousand datagrams: bounded memory, next to no lines, and the service goes on', async () => {
      const { near, beta } = at();
      await near.run(`cat >${UNIT}`, { input: tunnel(near, beta) });
      await near.run('systemctl daemon-reload; systemctl start wormhole-tunnel-udp.service');
      const show = async (what: string) =>
        (await near.run(`systemctl show -P ${what} wormhole-tunnel-udp.service`)).stdout.trim();
      const memory = async () =>
        Number((await near.run(`grep VmHWM /proc/${await show('MainPID')}/status | tr -dc 0-9`)).stdout);
      const pid = await show('MainPID');
      await beta.run(FLOOD(near.address, 1_000), { timeout: 60 });
      const before = [Number(await show('CPUUsageNSec')), await memory()] as const;
      const began = performance.now();
      let received = 0;
      // A service that gets no processor meanwhile receives next to nothing.
      for (let floods = 0; floods < 5 && received <= 10_000; floods++) {
        await beta.run(FLOOD(near.address, 100_000), { timeout: 120 });
        received = Number((await near.run("awk '/^Udp: [0-9]/ { print $2 }' /proc/net/snmp")).stdout.trim());
      }
      const after = [Number(await show('CPUUsageNSec')), await memory()] as const;
      console.log(
        `${received} datagrams, ${((after[0] - before[0]) / 1e3 / (received - 1_000)).toFixed(1)} µs of CPU each`,
      );
      assert.ok(received > 10_000, `${received} datagrams have arrived`);
      assert.ok(after[1] < before[1] + 50_000, `${before[1]} KiB -> ${after[1]} KiB`);
      assert.is(await show('MainPID'), pid);
      const lines = (await near.journal('-q', '-o', 'cat', '-t', 'wormhole-tunnel')).trim().split('\n');
      // One each ten seconds, and a few others.
      assert.ok(lines.length <= 10 + (performance.now() - began) / 10_000, lines.join('\n'));
      await near.run(
        `systemctl stop wormhole-tunnel-udp.service; rm ${UNIT} /run/wormhole/tunnels/*; systemctl daemon-reload`,
      );
    });

    test('a unit that is not of Wormhole is neither replaced nor deleted nor stopped', async () => {
      const { near } = at();
      const own = '[Service]\nExecStart=sleep infinity\n';
      const path = (name: string) => `/etc/systemd/system/wormhole-${name}`;
      await near.run(`cat >${path('mine.service')}`, { input: own });
      await near.run(`cat >${path('yours.socket')}`, { input: '[Socket]\nListenStream=127.0.0.1:7300\n' });
      await near.run(`ln -s /dev/null ${path('masked.service')}`);
      await near.run(
        `mkdir -p /usr/local/lib/systemd/system; cat >/usr/local/lib/systemd/system/wormhole-packaged.service`,
        {
          input: own,
        },
      );
      await near.run('systemd-run --unit wormhole-transient sleep infinity');
      await near.run('systemctl daemon-reload; systemctl start wormhole-mine wormhole-packaged');
      const state = () =>
        near.run(`cat ${path('mine.service')} ${path('yours.socket')}; readlink ${path('masked.service')}
          systemctl is-active wormhole-mine wormhole-packaged wormhole-transient
          ls /etc/systemd/system | grep wormhole-`);
      const before = (await state()).stdout;
      for (const [id, unit] of [
        ['mine', path('mine.service')],
        ['yours', path('yours.socket')],
        ['masked', path('masked.service')],
        ['packaged', '/usr/local/lib/systemd/system/wormhole-packaged.service'],
        ['transient', '/run/systemd/transient/wormhole-transient.service'],
      ] as const) {
        await fails(
          near,
          `create id ${id} url :7301 tail url :7302`,
          new RegExp(`${unit} is not a unit of Wormhole's, and stays as it is: take another id`),
        );
        await fails(near, `delete ${id}`, new RegExp(`no link "${id}"`));
        assert.is((await state()).stdout, before, id);
      }
      for (const id of ['tunnel-guard', 'tunnel-udp', 'far', 'sync'])
        await fails(near, `create id ${id} url :7301 tail url :7302`, /this id is reserved/, 2);
      assert.is((await state()).stdout, before);
      await near.run(`systemctl stop wormhole-mine wormhole-packaged wormhole-transient
        rm ${path('mine.service')} ${path('yours.socket')} ${path('masked.service')} /usr/local/lib/systemd/system/wormhole-packaged.service
        systemctl daemon-reload; systemctl reset-failed`);
      await leavesNothing(near);
    });
  },
);
