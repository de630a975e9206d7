import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { isActive, wantsLock } from './cluster.ts';
import { fails, succeeds, wormhole } from './installed.ts';
import { allGone, farSaid, hears, type Pair, pair, partOn } from './pair.ts';
import type { Host } from './rig/host.ts';
import type { Running } from './rig/shell.ts';
import { labSuite } from './suite.ts';

/** Starts the server that the links of these tests lead to, and has it started at each boot. */
async function serveForever(host: Host): Promise<void> {
  const unit = `[Service]
    ExecStart=socat TCP-LISTEN:7000,bind=127.0.0.1,reuseaddr,fork EXEC:'echo myserver'
    [Install]
    WantedBy=multi-user.target
    `;
  await host.run('cat >/etc/systemd/system/serves.service && systemctl enable --now serves', { input: unit });
}

/** Waits until a request has reached the daemon of a host, which cannot go on with it. */
async function asked(host: Host): Promise<void> {
  await host.waitFor(() => wantsLock(host), { what: 'the request' });
  // What is on the wire is acknowledged by then.
  await sleep(2000);
}

labSuite<Pair>(
  'remote links heal',
  async () => {
    const both = await pair();
    await serveForever(both.myserver);
    return both;
  },
  (test, at) => {
    test('each machine is rebooted, then both at once, and then lose their power', async () => {
      const { near, myserver } = at();
      await succeeds(near, 'create url :7000 remote myserver tail');
      await succeeds(near, 'create url :7005 trigger remote myserver tail url :7000');
      const both = async (what: string) => {
        for (const port of [7000, 7005])
          assert.is(await hears(near, port), 'myserver\n', `port ${port} after ${what}`);
      };
      await both('create');
      await myserver.reboot();
      await both('the reboot there');
      await near.reboot();
      await both('the reboot here');
      await Promise.all([near.reboot(), myserver.reboot()]);
      await both('the reboot of both');
      await Promise.all([near.crash(), myserver.crash()]);
      await Promise.all([near.start(), myserver.start()]);
      await both('the power cut');
      assert.is(JSON.parse(await succeeds(myserver, 'list --json')).length, 2);
    });

    test('after a boot the part is asserted before anybody connects', async () => {
      const { near, myserver } = at();
      await myserver.run('systemctl stop wormholed-tcp.socket wormholed.service');
      await farSaid(near);
      await near.reboot();
      // The other machine comes a little later.
      await sleep(1500);
      await myserver.run('systemctl start wormholed-tcp.socket');
      await near.waitFor(async () => /link 7000: its part .* is at/.test(await farSaid(near)), {
        what: 'the part to be asserted',
      });
      await near.waitFor(async () => !(await isActive(near, 'wormhole-far.service')), {
        what: 'the service to end',
      });
      await succeeds(near, 'delete 7005');
    });

    test('the other machine loses the link: the next client finds it', async () => {
      const { near, myserver } = at();
      const { id } = await partOn(myserver);
      await succeeds(myserver, `delete ${id}`);
      assert.is(await hears(near, 7000), 'myserver\n');
      await partOn(myserver);
      // Somebody stopped it.
      await myserver.run(`systemctl stop wormhole-${id}.socket wormhole-${id}.service`);
      assert.is(await hears(near, 7000), 'myserver\n');
    });

    test('only a forwarder can ask for help: any other caller achieves nothing', async () => {
      const { near, myserver } = at();
      const { id } = await partOn(myserver);
      await succeeds(myserver, `delete ${id}`);
      await farSaid(near);
      for (const user of ['nobody', 'root'])
        await near.run(
          `setpriv --reuid ${user} --clear-groups nc -w 3 -U /run/wormhole-far.sock </dev/null`,
          { check: false },
        );
      assert.is(await farSaid(near), '');
      assert.equal(JSON.parse(await succeeds(myserver, 'list --json')), []);
      assert.is(await hears(near, 7000), 'myserver\n');
    });

    test('its port is taken by something else: it takes another one', async () => {
      const { near, myserver } = at();
      const { id, port } = await partOn(myserver);
      await myserver.run(`systemctl stop wormhole-${id}.socket wormhole-${id}.service
        systemd-run --unit thief socat TCP6-LISTEN:${port},reuseaddr,fork /dev/null
        until [ "$(ss -Hltn sport = :${port})" ]; do sleep 0.1; done`);
      await near.run(`systemctl stop wormhole-7000.service; rm /run/wormhole/links/7000/far`);
      assert.is(await hears(near, 7000), 'myserver\n');
      assert.ok((await partOn(myserver)).port !== port);
      await myserver.run('systemctl stop thief');
    });

    test('our own address changes: the part lets in the new one', async () => {
      const { near, myserver } = at();
      const { id } = await partOn(myserver);
      // While systemd reloads its units there, its filter is away for a moment. A packet that comes just then, one second after the first,
      // gets as far as the forwarder, which still admits the former address alone: that client is reset, and the next one is served.
      await near.run('ip addr add 10.90.0.77/24 dev eth0; ip addr add fd90::77/64 dev eth0 nodad');
      await near.run(`ip addr del ${near.address}/24 dev eth0; ip addr del ${near.address6}/64 dev eth0`);
      await near.run(
        'ip addr add 10.90.0.77/24 dev eth0 2>/dev/null; ip route replace default via 10.90.0.1',
      );
      assert.is((await hears(near, 7000)) || (await hears(near, 7000)), 'myserver\n');
      const { stdout } = await myserver.run(`grep ^Allow= /etc/systemd/system/wormhole-${id}.socket`);
      assert.match(stdout, /^Allow=(10\.90\.0\.77|fd90::77)$/m);
      await near.run(`ip addr add ${near.address}/24 dev eth0; ip addr add ${near.address6}/64 dev eth0 nodad
        ip addr del 10.90.0.77/24 dev eth0; ip addr del fd90::77/64 dev eth0
        ip addr add ${near.address}/24 dev eth0 2>/dev/null; ip route replace default via 10.90.0.1`);
      assert.is((await hears(near, 7000)) || (await hears(near, 7000)), 'myserver\n');
    });

    test('the other machine is off: clients are closed, list says why, and it works again when it is back', async () => {
      const { near, myserver } = at();
      await near.run('systemctl stop wormhole-7000.service');
      await myserver.crash();
      assert.is(await hears(near, 7000), '', 'nobody is there');
      await myserver.setCable('down');
      assert.is(await hears(near, 7000), '', 'nobody answers');
      assert.match(await succeeds(near, 'list'), /waiting for machine myserver: .*tcp:\/\/myserver:9999/);
      assert.match(await near.journal('-u', 'wormhole-7000.service'), /closed the client 127\.0\.0\.1/);
      await myserver.setCable('up');
      await myserver.start();
      assert.is(await hears(near, 7000), 'myserver\n');
      await succeeds(near, 'delete 7000');
      await allGone(near, myserver);
    });

    test('delete while the other machine is away: gone here at once, and there when it is back', async () => {
      const { near, myserver } = at();
      await succeeds(near, 'create url :7000 remote myserver tail');
      await myserver.crash();
      const { stderr, status } = await wormhole(near, 'delete 7000');
      assert.match(
        stderr,
        /^wormhole: link "7000" is deleted here; its part on machine myserver is deleted as soon as [^\n]+\n$/,
      );
      assert.is(status, 0);
      assert.match(await succeeds(near, 'list'), /^7000 .* leaving machine myserver has its part/m);
      await fails(near, 'delete 7000', /no link "7000"/);
      assert.is((await near.run('nc -z 127.0.0.1 7000', { check: false })).status, 1);
      // The same link again: the debt for the old one must not touch it.
      await near.reboot();
      await myserver.start();
      await succeeds(near, 'create url :7000 remote myserver tail');
      await near.waitFor(
        async () => (JSON.parse(await succeeds(near, 'list --json')) as unknown[]).length === 1,
        {
          what: 'the old part to go',
          timeout: 60,
        },
      );
      await partOn(myserver);
      assert.is(await hears(near, 7000), 'myserver\n');
      await succeeds(near, 'delete 7000');
      await allGone(near, myserver);
      await near.waitFor(async () => !(await isActive(near, 'wormhole-far.timer')), {
        what: 'the timer to end',
      });
    });

    test('the wire is cut during create: a clear error, and nothing is left when it is back', async () => {
      const { near, myserver } = at();
      const holder = myserver.spawn('exec 9>>/run/wormhole/links.lock; flock 9; echo held; sleep 300');
      await near.waitFor(() => holder.stdout() === 'held\n', { what: 'the lock' });
      const create = near.spawn('wormhole create url :7000 remote myserver tail');
      await asked(myserver);
      await myserver.setCable('down');
      const { stderr, stdout, status } = await create.exited;
      assert.is(stdout, '');
      assert.match(
        stderr,
        /^wormhole: tcp:\/\/myserver:9999 has said nothing for 12 s[^\n]+that is deleted when the machine answers again[^\n]+\n$/,
      );
      assert.is(status, 1);
      assert.match(await succeeds(near, 'list'), /^7000 .* leaving /m);
      await holder.stop('SIGKILL');
      await near.waitFor(
        async () => (JSON.parse(await succeeds(myserver, 'list --json')) as unknown[]).length === 1,
        {
          what: 'the part to be made for nobody',
        },
      );
      await myserver.setCable('up');
      await near.waitFor(
        async () => (JSON.parse(await succeeds(myserver, 'list --json')) as unknown[]).length === 0,
        {
          what: 'the part to go',
          timeout: 90,
        },
      );
      // The debt is kept until no stray request can come any more.
      await allGone(myserver);
      await near.waitFor(async () => (await succeeds(near, 'list --json')) === '[]', {
        what: 'the debt',
        timeout: 180,
      });
      await allGone(near);
    });

    test('the wire is cut during delete', async () => {
      const { near, myserver } = at();
      await succeeds(near, 'create url :7000 remote myserver tail');
      const holder = myserver.spawn('exec 9>>/run/wormhole/links.lock; flock 9; echo held; sleep 300');
      await near.waitFor(() => holder.stdout() === 'held\n', { what: 'the lock' });
      const remove = near.spawn('wormhole delete 7000');
      await asked(myserver);
      await myserver.setCable('down');
      const { stderr, status } = await remove.exited;
      assert.match(stderr, /^wormhole: link "7000" is deleted here; [^\n]+\n$/);
      assert.is(status, 0);
      await holder.stop('SIGKILL');
      await myserver.setCable('up');
      await near.waitFor(async () => (await succeeds(near, 'list --json')) === '[]', {
        what: 'the part to go',
        timeout: 90,
      });
      await allGone(near, myserver);
    });

    test('the wire is cut during a transfer: for a while, and for good', async () => {
      const { near, myserver } = at();
      await myserver.run('head -c 100M /dev/urandom >/root/blob');
      await myserver.run(
        'systemd-run --unit blob socat -u TCP-LISTEN:7006,bind=127.0.0.1,reuseaddr,fork OPEN:/root/blob',
        { check: false },
      );
      await myserver.run(
        'systemctl stop blob; systemd-run --unit sends socat TCP-LISTEN:7006,bind=127.0.0.1,reuseaddr,fork EXEC:"cat /root/blob"',
      );
      await succeeds(near, 'create url :7006 remote myserver tail');
      // Slowly enough for the wire to be cut in the middle.
      const slowly = () =>
        near.spawn(
          'exec 3<&0; nc -d 127.0.0.1 7006 | { head -c 1M; echo begun >&2; read -r _ <&3; cat; } | md5sum',
        );
      const begun = (client: Running) =>
        near.waitFor(() => client.stderr().includes('begun'), { what: 'the first bytes' });
      const whole = (await myserver.run('md5sum </root/blob')).stdout;
      const first = slowly();
      await begun(first);
      await myserver.setCable('down');
      first.write('\n');
      await sleep(8000);
      await myserver.setCable('up');
      assert.is((await first.exited).stdout, whole);

      const second = slowly();
      await begun(second);
      await myserver.setCable('down');
      second.write('\n');
      const cut = await second.exited;
      assert.ok(cut.stdout !== whole, 'the client is told, by the end of the connection');
      await near.waitFor(
        async () =>
          /on machine myserver .*closed the client/.test(await near.journal('-u', 'wormhole-7006.service')),
        { what: 'the line in the journal' },
      );
      const { id } = await partOn(myserver);
      await near.waitFor(
        async () =>
          / 0 open/.test(
            (await myserver.run(`systemctl show -P StatusText wormhole-${id}.service`)).stdout.replace(
              /^/,
              ' ',
            ),
          ),
        { what: 'the other side to notice', timeout: 60 },
      );
      await myserver.setCable('up');
      assert.is((await near.run('nc -d -w 20 127.0.0.1 7006 | md5sum', { timeout: 60 })).stdout, whole);
      await succeeds(near, 'delete 7006');
      await allGone(near, myserver);
    });

    test('create is killed at any moment: the next command on this machine puts it right', async () => {
      const { near, myserver } = at();
      for (let moment = 0; moment < 12; moment++) {
        const create = near.spawn('wormhole create id k url :7008 remote myserver tail url :7000');
        await sleep(100 + 60 * moment);
        await create.stop('SIGKILL');
      }
      // Whatever the last one left is taken back by a command that has nothing to do with it.
      await wormhole(near, 'delete k');
      await succeeds(near, 'create url :7009 tail url :7000');
      await succeeds(near, 'delete 7009');
      await near.waitFor(async () => (await succeeds(near, 'list --json')) === '[]', {
        what: 'all to go here',
        timeout: 60,
      });
      await near.waitFor(async () => (await succeeds(myserver, 'list --json')) === '[]', {
        what: 'all to go there',
        timeout: 60,
      });
      await allGone(near, myserver);
    });
  },
);
