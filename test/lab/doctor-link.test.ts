import * as assert from 'uvu/assert';
import { fails, succeeds, wormhole } from './installed.ts';
import { listens } from './listening.ts';
import { allGone, greeter, type Pair, pair } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* `wormhole doctor --link`: each hop broken on purpose; and what doctor finds of other machines. */

/** Sets the clock of Node programs ahead: that of a host is the one of this machine. */
const AHEAD = `const now = Date.now; Date.now = () => now() + 90_000;\n`;

labSuite<Pair>(
  'doctor and links',
  async () => {
    const both = await pair();
    await both.near.run(
      'docker run -d --name box --network none wormhole/tools socat TCP-LISTEN:7000,fork,reuseaddr EXEC:cat',
    );
    await listens(both.near, 7000, { container: 'box' });
    await greeter(both.myserver, 'greeter', 7000, 'myserver');
    return both;
  },
  (test, at) => {
    test('a link into a container: head, forwarder, container, namespace and target, each broken in turn', async () => {
      const { near } = at();
      await succeeds(near, 'create id plain url :9000 tail url :7000 docker-ns box');
      assert.equal(await hops(near, 'plain'), [
        'ok plain 127.0.0.1:9000 on this host listens',
        'ok plain its forwarder starts at the first connection',
        'ok plain container box is running',
        'ok plain the network namespace of container box is there',
        'ok plain tcp://127.0.0.1:7000 accepts connections (socat (pid N))',
        'link plain: no fault found',
      ]);
      assert.is(
        (await near.run('systemctl is-active wormhole-plain.service', { check: false })).stdout,
        'inactive\n',
        'nothing is started',
      );
      await near.run('echo here | nc -N 127.0.0.1 9000');
      assert.match((await hops(near, 'plain')).join('\n'), /its forwarder runs(?:.|\n)*box is there/);

      await near.run(
        "docker exec box sh -c 'kill 1' ; docker rm -f box; docker run -d --name box --network none wormhole/tools sleep infinity",
      );
      await near.waitFor(
        async () => !/is not the one that/.test((await wormhole(near, 'doctor --link plain')).stdout),
        { what: 'the new container to be followed' },
      );
      await breaks(near, 'plain', /tcp:\/\/127\.0\.0\.1:7000 does not accept a connection \(ECONNREFUSED\)$/);
      await near.run('docker stop -t 0 box');
      await breaks(near, 'plain', /container box is exited$/);
      await near.run('docker rm -f box');
      await breaks(near, 'plain', /there is no container box$/);
      await near.run('systemctl stop docker.socket docker');
      await breaks(near, 'plain', /Docker is not running$/);
      await near.run(
        'systemctl start docker; docker run -d --name box --network none wormhole/tools socat TCP-LISTEN:7000,fork,reuseaddr EXEC:cat',
      );
      await near.waitFor(async () => (await wormhole(near, 'doctor --link plain')).status === 0, {
        what: 'the link to follow',
      });
      await near.run('mv /usr/local/lib/wormhole/dist/forwarder.cjs /root/');
      await breaks(near, 'plain', /its program .*forwarder\.cjs is missing$/);
      await near.run(
        'mv /root/forwarder.cjs /usr/local/lib/wormhole/dist/; rm /etc/systemd/system/wormhole-plain.service; systemctl stop wormhole-plain.service; systemctl daemon-reload',
      );
      await breaks(near, 'plain', /wormhole-plain\.service cannot be loaded \(not-found\)$/);
      await succeeds(near, 'upgrade').then((said) => assert.match(said, /^upgraded/));
      await succeeds(near, 'stop plain');
      await breaks(near, 'plain', /is closed: somebody has stopped the link$/);
      await succeeds(near, 'start plain');
      await fails(near, 'doctor --link nosuch', /no link "nosuch": see wormhole list/);
      await fails(near, 'doctor --fix --link plain', /--link only looks/, 2);
    });

    test('what sleeps is not started: a container, a link that leads to one, and a socket-activated service', async () => {
      const { near } = at();
      await succeeds(
        near,
        "create id asleep url :9001 idle 60s trigger url :7000 docker-run 'wormhole/tools socat TCP-LISTEN:7000,fork,reuseaddr EXEC:cat'",
      );
      await succeeds(near, 'create id before url :9002 tail url :9001');
      assert.match(
        (await hops(near, 'before')).join('\n'),
        /ok before 127\.0\.0\.1:9001 on this host is the head of link asleep\n.*\n.*\nasleep asleep the container of link asleep sleeps: .*\nlink before: no fault found, but sleeping parts were not checked$/,
      );
      assert.is((await near.run('docker ps --format {{.Names}}')).stdout, 'box\n');
      await near.run(
        "printf '[Socket]\\nListenStream=127.0.0.1:9010\\n' > /run/systemd/system/lazy.socket; printf '[Service]\\nExecStart=sleep 60\\n' > /run/systemd/system/lazy.service; systemctl daemon-reload; systemctl start lazy.socket",
      );
      await succeeds(near, 'create id tolazy url :9003 tail url :9010');
      assert.match(
        (await hops(near, 'tolazy')).join('\n'),
        /unknown tolazy tcp:\/\/127\.0\.0\.1:9010 is not probed: systemd listens there/,
      );
      assert.is((await near.run('systemctl is-active lazy.service', { check: false })).stdout, 'inactive\n');
      await near.run('systemctl stop lazy.socket; rm /run/systemd/system/lazy.*; systemctl daemon-reload');
      for (const id of ['asleep', 'before', 'tolazy']) await succeeds(near, `delete ${id}`);
    });

    test('a server that is probed gets no byte', async () => {
      const { near } = at();
      await near.run(
        'systemd-run --unit counting socat -u TCP-LISTEN:7100,bind=127.0.0.1,fork,reuseaddr OPEN:/root/got,creat,append',
      );
      await listens(near, 7100);
      await succeeds(near, 'create id counted url :9004 tail url :7100 or url :7101');
      const found = (await hops(near, 'counted')).join('\n');
      assert.match(found, /ok counted-to-\S+ tcp:\/\/127\.0\.0\.1:7100 accepts connections/);
      assert.match(found, /broken counted-to-\S+ tcp:\/\/127\.0\.0\.1:7101 does not accept a connection/);
      // It has been accepted by the kernel: socat may yet have to open the file.
      assert.is((await near.run('until test -e /root/got; do sleep 0.1; done; cat /root/got')).stdout, '');
      await near.run('systemctl stop counting');
      await succeeds(near, 'delete counted');
    });

    test('a link to another machine: its part, what is behind it, and its daemon', async () => {
      const { near, myserver } = at();
      await succeeds(near, 'create id away url :7000 remote myserver tail');
      const whole = await hops(near, 'away');
      assert.match(
        whole.join('\n'),
        /ok away machine myserver answers in N ms\nok away its part there, near-away, is listening\nok away \S+ accepts connections\nlink away: no fault found$/,
      );
      assert.is((await wormhole(near, 'doctor')).stdout, 'nothing wrong\n');

      await myserver.run('systemctl stop greeter; systemctl reset-failed greeter');
      await breaks(near, 'away', /accepts a connection and closes it: the part does not reach its target$/);
      await breaks(near, 'away', /its part there, near-away, is failing /);
      await breaks(myserver, 'near-away', /tcp:\/\/127\.0\.0\.1:7000 does not accept a connection/);
      await greeter(myserver, 'greeter', 7000, 'myserver');
      await near.run('nc -w 5 127.0.0.1 7000 </dev/null', { check: false });
      await near.waitFor(async () => (await wormhole(near, 'doctor --link away')).status === 0, {
        what: 'the part to serve again',
      });
      await succeeds(myserver, 'stop near-away');
      await breaks(near, 'away', /its part there, near-away, is stopped /);
      await succeeds(myserver, 'delete near-away');
      await breaks(near, 'away', /machine myserver has no part of the link$/);

      await myserver.run('systemctl stop wormholed-tcp.socket wormholed.service');
      await breaks(near, 'away', /no daemon at tcp:\/\/myserver:9999, the connection is refused$/);
      const unreachable = await wormhole(near, 'doctor');
      assert.match(
        unreachable.stdout,
        /^machine myserver: no daemon at .*\(link away leads there\): if that machine is to be reached, systemctl enable --now wormholed-tcp\.socket there$/m,
      );
    });

    test('a deletion that another machine cannot be told is named, and carried out by --fix when it can', async () => {
      const { near, myserver } = at();
      // It would carry the deletion out by itself, half a minute later.
      const dropIn = '/run/systemd/system/wormhole-far.timer.d';
      await near.run(
        `mkdir -p ${dropIn}; printf '[Timer]\\nOnActiveSec=\\nOnActiveSec=1d\\n' >${dropIn}/late.conf; systemctl daemon-reload`,
      );
      await myserver.run('systemctl start wormholed-tcp.socket');
      await succeeds(near, 'create id gone url :7001 remote myserver tail url :7000');
      await myserver.run('systemctl stop wormholed-tcp.socket wormholed.service');
      await wormhole(near, 'delete away');
      await wormhole(near, 'delete gone');
      await near.waitFor(
        async () =>
          /^the part of deleted link gone: machine myserver has it until it can be told: wormhole ping myserver/m.test(
            (await wormhole(near, 'doctor')).stdout,
          ),
        { what: 'the deletion to be pending' },
      );
      const failed = await wormhole(near, 'doctor --fix');
      assert.match(
        failed.stdout,
        /^not repaired: the part of deleted link gone: no daemon at tcp:\/\/myserver:9999/m,
      );
      assert.is(failed.status, 1);
      await myserver.run('systemctl start wormholed-tcp.socket');
      const { stdout } = await wormhole(near, 'doctor --fix');
      assert.match(
        stdout,
        /^repaired: the part of deleted link gone: machine myserver has nothing of it any more$/m,
      );
      assert.match(stdout, /^nothing wrong$/m);
      assert.is((await myserver.run('ls /etc/systemd/system | grep near-', { check: false })).stdout, '');
      await near.run(`rm -r ${dropIn}; systemctl daemon-reload`);
    });

    test('a machine whose clock differs', async () => {
      const { near, myserver } = at();
      await succeeds(near, 'create id away url :7000 remote myserver tail');
      await myserver.run(
        "mkdir -p /etc/systemd/system/wormholed.service.d; printf '[Service]\\nEnvironment=NODE_OPTIONS=--require=/usr/local/lib/ahead.cjs\\n' > /etc/systemd/system/wormholed.service.d/ahead.conf",
      );
      await myserver.run('cat > /usr/local/lib/ahead.cjs', { input: AHEAD });
      await myserver.run('systemctl daemon-reload; systemctl stop wormholed.service');
      const began = performance.now();
      const { stdout, status } = await wormhole(near, 'doctor');
      const took = (performance.now() - began) / 1000;
      const found =
        /^machine myserver: its clock is (\d+) s ahead of ours, .*: timedatectl set-ntp true/m.exec(stdout);
      // A clock can be read over the network to half of the time that an answer takes.
      assert.ok(Math.abs(Number(found?.[1]) - 90) <= 1 + took / 2, `${stdout}in ${took} s`);
      assert.is(status, 1);
      await myserver.run(
        'rm -r /etc/systemd/system/wormholed.service.d; systemctl daemon-reload; systemctl stop wormholed.service',
      );
      assert.is((await wormhole(near, 'doctor')).stdout, 'nothing wrong\n');
    });

    test('nothing is left', async () => {
      const { near, myserver } = at();
      await succeeds(near, 'delete --all');
      await allGone(near, myserver);
    });
  },
);

/** The lines of `doctor --link`, without padding, and with N for pids and milliseconds. */
async function hops(host: Host, id: string): Promise<string[]> {
  const { stdout, stderr } = await wormhole(host, `doctor --link ${id}`);
  assert.is(stderr, '');
  return stdout
    .trim()
    .split('\n')
    .map((line) =>
      line
        .replace(/ +/g, ' ')
        .replace(/pid \d+/, 'pid N')
        .replace(/in [\d.]+ ms/, 'in N ms')
        .replace('is joined', 'is there'),
    );
}

/** Says in its last line where the link breaks. */
async function breaks(host: Host, id: string, where: RegExp): Promise<void> {
  let [stdout, last, status] = ['', '', 0];
  const isFound = async () => {
    ({ stdout, status } = await wormhole(host, `doctor --link ${id}`));
    last = stdout.trim().split('\n').at(-1) ?? '';
    return where.test(last);
  };
  // A link takes a moment to follow what has changed.
  await host.waitFor(isFound, { timeout: 10, what: `${id} to break` }).catch(() => {});
  assert.ok(last.startsWith(`link ${id} breaks at: `) || !/\$/.test(where.source), stdout);
  assert.ok(where.test(last), `${where} is not at the end of:\n${stdout}`);
  assert.is(status, 1);
}
