import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import { labSuite } from './suite.ts';

const KILL = 'systemctl kill -s KILL dbus.service';

labSuite(
  'services that are killed',
  () => installedHost({ name: 'bus' }),
  (test, at) => {
    test('the system bus, while a link follows its container: it is followed all the same', async () => {
      const host = at();
      await host.run(`docker run -d --name web --network none wormhole/tools \\
      socat -t 60 TCP-LISTEN:80,bind=127.0.0.1,fork,reuseaddr EXEC:'echo web'`);
      await succeeds(host, 'create id web url :7000 tail url :80 docker-ns web');
      const becomes = (state: string) =>
        host.waitFor(
          async () =>
            (await host.run('systemctl is-active wormhole-netns@web', { check: false })).stdout ===
            `${state}\n`,
          { timeout: 20, what: `the namespace to be ${state}` },
        );
      await becomes('active');
      // The job takes longer than the kill.
      await host.run(`mkdir -p /etc/systemd/system/wormhole-netns@web.service.d
      printf '[Service]\\nExecStartPre=/bin/sh -c "until test -e /run/bus-killed; do sleep 0.1; done"\\n' >/etc/systemd/system/wormhole-netns@web.service.d/slow.conf
      systemctl daemon-reload`);
      await host.run('docker stop -t 0 web');
      await becomes('activating');
      await host.run(`${KILL}; touch /run/bus-killed`);
      await becomes('active');
      await host.run('docker start web');
      const ask = async () => (await host.run('nc -N 127.0.0.1 7000 </dev/null', { check: false })).stdout;
      await host.waitFor(async () => (await ask()) === 'web\n', { timeout: 40, what: 'the link to follow' });
      assert.match(
        await host.journal('-t', 'wormhole-sync', '-o', 'cat'),
        /^the system bus is unreachable: .* tried again/m,
      );
      const isQuiet = async () =>
        (await host.run('systemctl is-active wormhole-sync', { check: false })).stdout === 'inactive\n';
      await host.waitFor(isQuiet, { timeout: 30, what: 'the end of wormhole-sync' });
    });

    test('what follows containers, before it has done so: it begins again', async () => {
      const host = at();
      await host.run(`docker stop -t 0 web
      until systemctl is-active wormhole-sync | grep -q activating; do sleep 0.05; done
      systemctl kill -s STOP wormhole-sync; docker start web; systemctl kill -s KILL wormhole-sync`);
      const ask = async () => (await host.run('nc -N 127.0.0.1 7000 </dev/null', { check: false })).stdout;
      await host.waitFor(async () => (await ask()) === 'web\n', { timeout: 30, what: 'the link to follow' });
      await succeeds(host, 'delete web');
    });

    test('the system bus, before labels of containers are read: they are carried out when it is back', async () => {
      const host = at();
      await host.run(`docker run -d --name labelled --network none --label 'wormhole.expose.y=url :8200 tail url :80' wormhole/tools sleep infinity
        systemctl stop dbus.socket dbus.service; systemctl start --no-block wormhole-labels.service`);
      await host.waitFor(
        async () =>
          (await host.journal('-t', 'wormhole-labels', '-o', 'cat')).includes(
            'Links do not follow the labels',
          ),
        { timeout: 30, what: 'the journal to tell' },
      );
      await host.run('systemctl start dbus.socket');
      await host.waitFor(async () => (await succeeds(host, 'list')).includes('labelled.'), {
        timeout: 40,
        what: 'the link of the label',
      });
      await host.run('docker rm -f labelled; wormhole labels');
    });

    test('the system bus, while a command waits for a job: the command fails at once, and the next one cleans up', async () => {
      const host = at();
      await host.run(`mkdir -p /etc/systemd/system/wormhole-7100.socket.d
      printf '[Socket]\\nExecStartPre=/bin/sh -c "until test -e /run/bus-killed-again; do sleep 0.1; done"\\n' >/etc/systemd/system/wormhole-7100.socket.d/slow.conf`);
      const killed = host.run(
        `until systemctl is-active wormhole-7100.socket | grep -q activating; do sleep 0.1; done; ${KILL}; touch /run/bus-killed-again`,
        { timeout: 60 },
      );
      await fails(
        host,
        'create url :7100 tail url :7101',
        /the system bus is unreachable: it closed the connection/,
      );
      await killed;
      await host.run(
        'rm -r /etc/systemd/system/wormhole-7100.socket.d /etc/systemd/system/wormhole-netns@web.service.d; systemctl daemon-reload',
      );
      await succeeds(host, 'create url :7100 tail url :7101');
      await succeeds(host, 'delete 7100');
      await leavesNothing(host);
    });

    test('the system bus hangs: a command says so instead of waiting for ever, and leaves nothing', async () => {
      const host = at();
      await host.run('pkill -STOP -x dbus-daemon');
      await fails(
        host,
        'create url :7100 tail url :7101',
        /^wormhole: the system bus is unreachable: no answer within 30 s\n$/,
      );
      await host.run('pkill -CONT -x dbus-daemon');
      // It hangs when it has greeted: two calls, of which the bus answers neither.
      const { stdout } = await host.run(`cd /src/wormhole && node --import tsx --input-type=module -e '
        import { execFileSync } from "node:child_process";
        import { connectBus } from "./src/systemd/bus.ts";
        const bus = await connectBus({ greeting: 30_000, answer: 1_000 });
        execFileSync("pkill", ["-STOP", "-x", "dbus-daemon"]);
        const name = "org.freedesktop.DBus";
        const call = () => bus.call({ destination: name, path: "/org/freedesktop/DBus", interface: name, member: "GetId" });
        for (const { reason } of await Promise.allSettled([call(), call()]))
          console.log(reason.constructor.name, reason.message);
        // Nothing keeps the process alive that waits for this bus.
      '; pkill -CONT -x dbus-daemon`);
      assert.is(stdout, 'BusUnreachable the system bus is unreachable: no answer within 1 s\n'.repeat(2));
      await leavesNothing(host);
    });
  },
);
