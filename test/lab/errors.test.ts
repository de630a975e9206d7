import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

labSuite(
  'errors',
  () => installedHost({ name: 'errors' }),
  (test, at) => {
    const faults: [string, RegExp][] = [
      ['', /Usage: wormhole/],
      ['frobnicate', /unknown command 'frobnicate'/],
      ['create', /missing required argument 'recipe'/],
      ['delete', /which link\? wormhole delete ID, or --all/],
      ['delete --all a', /give ids or --all, not both/],
      ['list extra', /too many arguments/],
      ['list --jsom', /unknown option '--jsom'.*--json/],
      ['help frobnicate', /no command "frobnicate"/],
      ['create url :3306 tial url :1', /word 3, "tial".*did you mean "tail"/],
      ['create url :3306', /no tail/],
      [
        'create "url :3306 tail url :1"',
        /word 1, "url :3306 tail url :1": these are several words: leave out the quotes/,
      ],
      ['create url', /after "url"/],
      ['create url :3306 tail docker-ns a b', /word 6, "b"/],
      ['create url :0 tail url :1', /"?:?0"?/],
      ['create url :65536 tail url :1', /65536/],
      ['create url :abc tail url :1', /abc/],
      ['create id ../x url :1 tail url :2', /"\.\.\/x"/],
      ['create id sync url :1 tail url :2', /"sync"/],
      ['create url :3306 tail url :3306', /cannot proxy to self/],
      ['create url :1 tail url :2 --dry-run', /--dry-run.*options go before the recipe/],
      ['create url db.example:1 tail url :2', /db\.example/],
      ['create url :53 tail url udp://:54', /the head is tcp and the tail udp/],
      ['create url :80 idle soon trigger docker-run nginx', /word 4, "soon"/],
      ['create --idle 5x url :80 tail url :81', /--idle "5x"/],
      ['create --start-timeout 0 url :80 tail url :81', /--start-timeout "0"/],
      ['create --pull perhaps url :80 tail url :81', /perhaps.*never, missing, always/],
      [`create url :80 trigger docker-run '--gpus all nginx'`, /--gpus/],
      [`create url :80 trigger docker-run '--restart always nginx'`, /--restart/],
    ];
    for (const [args, expected] of faults) {
      test(`usage: wormhole ${args}`, async () => {
        if (args !== '') return fails(at(), args, expected, 2);
        const { stderr, status } = await wormhole(at(), args);
        assert.match(stderr, expected);
        assert.is(status, 2);
      });
    }

    test('a tunnel that the kernel cannot carry is refused before anything is made', async () => {
      const host = at();
      const probe = await host.run('unshare --net ip link add wh type xfrm if_id 1', { check: false });
      const recipe = 'create url :3306 trigger tunnel elsewhere trigger url :3306 docker-run wormhole/mysql';
      if (probe.status !== 0)
        await fails(
          host,
          recipe,
          /^wormhole: the kernel of errors cannot carry tunnels, it lacks .*: modprobe -a /,
        );
      // A kernel that can: the link is made, since its tunnel waits for the first connection.
      else await succeeds(host, `${recipe} && wormhole delete 3306 >/dev/null`);
      await leavesNothing(host);
    });

    test('a port that is taken', async () => {
      const host = at();
      await host.run('systemd-run --unit taker socat TCP-LISTEN:6000,bind=127.0.0.1,fork EXEC:cat');
      await host.waitFor(
        async () => (await host.run('echo up | nc -N 127.0.0.1 6000', { check: false })).stdout === 'up\n',
        {
          what: 'the rival to listen',
        },
      );
      await fails(
        host,
        'create url :6000 tail url :6001',
        /127\.0\.0\.1:6000 on this host is in use already by socat \(pid \d+\)/,
      );
      await fails(
        host,
        'create url :6100 chain url :6000 tail url :6001',
        /127\.0\.0\.1:6000 on this host is in use already by socat \(pid \d+\)/,
      );
      await leavesNothing(host);
    });

    test('a port that is taken in a container', async () => {
      const host = at();
      await host.run(
        'docker run -d --network none --name busy wormhole/tools socat TCP-LISTEN:6000,fork,reuseaddr EXEC:cat',
      );
      await host.waitFor(
        async () =>
          (await host.container('busy').runInNetwork('echo up | nc -N 127.0.0.1 6000', { check: false }))
            .stdout === 'up\n',
        { what: 'the rival to listen' },
      );
      await fails(
        host,
        'create url :6000 docker-ns busy tail url :6001',
        /127\.0\.0\.1:6000 in container busy is in use already by socat \(pid \d+\)/,
      );
      await leavesNothing(host);
    });

    test('containers that are not there, do not run, or are ambiguous', async () => {
      const host = at();
      await fails(host, 'create url :1 tail docker-ns nosuch', /no container "nosuch"/);
      await fails(host, 'create url :1 docker-ns nosuch tail url :2', /no container "nosuch"/);
      await host.run('docker create --name asleep wormhole/tools true');
      await fails(
        host,
        'create url :1 tail docker-ns asleep',
        /container "asleep" is not running: .*docker start asleep/,
      );
      const prefix = await ambiguousPrefix(host);
      await fails(
        host,
        `create url :1 tail docker-ns ${prefix}`,
        new RegExp(`container "${prefix}" is ambiguous`),
      );
      await leavesNothing(host);
    });

    test('a netns or an address that is not there', async () => {
      const host = at();
      await fails(host, 'create url :1 tail url nosuch@:2', /no network namespace "nosuch"/);
      await fails(
        host,
        'create url 192.0.2.7:1 tail url :2',
        /"192\.0\.2\.7" is not an address of this host/,
      );
      await leavesNothing(host);
    });

    test('an id or a head that is taken, and a part of another link', async () => {
      const host = at();
      await succeeds(host, 'create id mine url :6200 chain url :6201 tail url :6202');
      await fails(host, 'create id mine url :6300 tail url :6301', /id "mine" is taken/);
      await fails(
        host,
        'create url :6201 tail url :6301',
        /link "mine-6201" listens on 127\.0\.0\.1:6201 already/,
      );
      await fails(host, 'delete mine-6201', /a part of link "mine"/);
      await succeeds(host, 'delete mine');
      await fails(host, 'delete mine', /no link "mine"/);
      await leavesNothing(host);
    });

    test('delete takes several ids, reports each that it cannot delete, and deletes the others', async () => {
      const host = at();
      for (const [i, id] of ['one', 'two', 'three'].entries()) {
        const recipe = `url :${6210 + i} chain id ${id}-child url :${6220 + i} tail url :6202`;
        await succeeds(host, `create id ${id} ${recipe}`);
      }
      const { stdout, stderr, status } = await wormhole(
        host,
        `delete one nosuch two-child three three-child three 'a b'`,
      );
      assert.is(
        stderr,
        [
          'wormhole: no link "nosuch": see wormhole list',
          'wormhole: link "two-child" is a part of link "two": wormhole delete two',
          'wormhole: no link "a b": see wormhole list\n',
        ].join('\n'),
      );
      assert.is(stdout, '');
      assert.is(status, 1);
      const left = JSON.parse(await succeeds(host, 'list --json')) as { id: string }[];
      assert.equal(
        left.map(({ id }) => id),
        ['two', 'two-child'],
      );
      await succeeds(host, 'delete two');
      await leavesNothing(host);
    });

    test('what is no link is not deleted, whatever it is called', async () => {
      const host = at();
      await host.run('mkdir -p /etc/systemd/system/wormhole-x && touch /etc/systemd/victim.service');
      for (const id of ['sync', '80-run', 'netns@x', 'x/../../victim', '../x']) {
        await fails(host, `delete '${id}'`, /no link "[^"]+": see wormhole list/);
      }
      await host.run('test -e /etc/systemd/victim.service && systemctl cat wormhole-sync.service >/dev/null');
      await host.run('rmdir /etc/systemd/system/wormhole-x && rm /etc/systemd/victim.service');
    });

    test('a head at all addresses leads to the same port of another machine, and not to one of its own', async () => {
      const host = at();
      const at6500 = (head: string, tail: string) => `create id all url ${head}:6500 tail url ${tail}:6500`;
      for (const tail of [host.address, '127.0.0.1'])
        await fails(host, at6500('0.0.0.0', tail), /cannot proxy to self/, tail === '127.0.0.1' ? 2 : 1);
      for (const tail of [`[${host.address6}]`, host.address])
        await fails(host, at6500('[::]', tail), /cannot proxy to self/);
      for (const [head, tail] of [
        ['0.0.0.0', '10.90.0.250'],
        ['0.0.0.0', 'db.example.com'],
        ['0.0.0.0', '[fd90::250]'],
        ['[::]', '[fd90::250]'],
      ] as const) {
        await succeeds(host, at6500(head, tail));
        await succeeds(host, 'delete all');
      }
      await leavesNothing(host);
    });

    test('two names for one namespace are still one', async () => {
      const host = at();
      await host.run('docker run -d --network host --name shares wormhole/tools sleep infinity');
      await fails(host, 'create url :6000 tail docker-ns shares', /cannot proxy to self/);
      await host.run('docker run -d --network container:busy --name joined wormhole/tools sleep infinity');
      await fails(host, 'create url :6400 docker-ns busy tail docker-ns joined', /cannot proxy to self/);
      await leavesNothing(host);
    });

    test('not root', async () => {
      const host = at();
      const result = await host.run(
        'setpriv --reuid nobody --regid nogroup --clear-groups wormhole create url :1 tail url :2',
        {
          check: false,
        },
      );
      assert.match(result.stderr, /^wormhole: this needs root: sudo wormhole create …\n$/);
      assert.is(result.status, 1);
      const list = await host.run('setpriv --reuid nobody --regid nogroup --clear-groups wormhole list');
      assert.match(list.stdout, /^ID/);
    });

    test('no systemd', async () => {
      const host = at();
      const result = await host.run(
        `unshare --mount sh -c 'mount -t tmpfs none /run/systemd && wormhole create url :1 tail url :2'`,
        { check: false },
      );
      assert.match(result.stderr, /^wormhole: this machine was not booted with systemd[^\n]*\n$/);
      assert.is(result.status, 1);
      await leavesNothing(host);
    });

    test('units that somebody has edited beyond reading', async () => {
      const host = at();
      await succeeds(host, 'create id broken url :6500 tail url :6501');
      await host.run(`sed -i 's/^Recipe=.*/Recipe=nonsense/' /etc/systemd/system/wormhole-broken.socket`);
      const { stderr, status } = await wormhole(host, 'list');
      assert.match(stderr, /^wormhole: link "broken" cannot be read: .*wormhole delete broken removes it\n$/);
      assert.is(status, 1);
      await fails(host, 'create id broken url :6502 tail url :6501', /id "broken" is taken/);
      await succeeds(host, 'delete broken');
      await leavesNothing(host);
    });

    test('output whose reader goes away', async () => {
      const host = at();
      // A pipe that nobody reads: with another program at its other end, this might still be there when the command writes.
      const { stdout, stderr } = await host.run(`
        mkfifo /run/unread; exec 3<>/run/unread 4>/run/unread 3<&-
        for command in "create url :6200 tail url :6201" list "list --json" tunnel-list "help create" "delete 6200"; do
          wormhole $command >&4
          echo "$command: $?"
        done
        rm /run/unread`);
      // Only of what has changed something, and nobody has been told.
      assert.is(
        stderr,
        'wormhole: cannot write to standard output (write EPIPE): link 6200 is created: 6200 tcp://127.0.0.1:6200\n',
      );
      const expected = [
        'create url :6200 tail url :6201',
        'list',
        'list --json',
        'tunnel-list',
        'help create',
        'delete 6200',
      ];
      assert.equal(
        stdout.trim().split('\n'),
        expected.map((command) => `${command}: 0`),
      );
      await leavesNothing(host);
    });

    test('a disk that is full, or read-only', async () => {
      const host = at();
      await host.run('mkdir -p /root/units && mount -t tmpfs -o ro none /root/units');
      const result = await host.run(
        `unshare --mount sh -c 'mount --bind /root/units /etc/systemd/system && wormhole create url :1 tail url :2'`,
        { check: false },
      );
      assert.match(result.stderr, /^wormhole: [^\n]*(EROFS|read-only)[^\n]*\n$/);
      assert.is(result.status, 1);
      await host.run('umount /root/units');
      await leavesNothing(host);
    });

    test('Docker not running', async () => {
      const host = at();
      await host.run('systemctl stop docker docker.socket', { timeout: 60 });
      await fails(
        host,
        'create url :1 tail docker-ns busy',
        /Docker is not running \(docker\.service is inactive\): systemctl start docker/,
      );
      await leavesNothing(host);
    });
  },
);

labSuite(
  'errors without Docker',
  () => installedHost({ name: 'bare', docker: false }),
  (test, at) => {
    test('no Docker', async () => {
      const host = at();
      await fails(host, 'create url :1 tail docker-ns app', /the Docker engine is unreachable/);
      await leavesNothing(host);
      await succeeds(host, 'create url :1 tail url :2');
      await succeeds(host, 'delete 1');
    });
  },
);

/** Makes containers until two ids begin with the same digit. */
async function ambiguousPrefix(host: Host): Promise<string> {
  const seen = new Set<string>();
  for (let i = 0; i < 17; i++) {
    const id = (await host.run('docker create wormhole/tools true')).stdout;
    const first = id.slice(0, 1);
    if (seen.has(first)) return first;
    seen.add(first);
  }
  throw new Error('17 ids with 16 different first digits');
}
