import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import { startNamedServers } from './named-servers.ts';
import { withRefusingEngine } from './refusing-engine.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* Commands that are killed midway or fail midway: what the next one finds, and what they leave. Containers with names of their own. */

const DOCKERFILE = `FROM wormhole/tools
RUN mkdir /data && echo seed >/data/notes
VOLUME /data
CMD ["socat", "-t", "20", "TCP-LISTEN:7000,fork,reuseaddr", "SYSTEM:read line; echo $line $MARK >>/data/notes; cat /data/notes"]
`;

/** A container that is not ready for a long time. */
const SLOW = `FROM wormhole/tools
HEALTHCHECK --interval=1s --timeout=400s CMD sleep 300
CMD ["sleep", "600"]
`;

/** Two containers of a link, of which the inner one answers. */
const TWO_CONTAINERS =
  "id web url :4001 trigger url :7001 docker-run 'wormhole/tools socat -t 60 TCP-LISTEN:7001,fork TCP:127.0.0.1:7000' child id base url :7000 trigger docker-run notes";

labSuite(
  'links that are half changed',
  async () => {
    const host = await installedHost({ name: 'half' });
    await host.run('docker build -q -t notes -', { input: DOCKERFILE });
    await host.run('docker build -q -t slow -', { input: SLOW });
    await startNamedServers(host);
    return host;
  },
  (test, at) => {
    test('a container with a name of its own is changed by create --replace, edit and apply, and keeps its data', async () => {
      const host = at();
      await succeeds(host, "create id db url :5000 trigger url :7000 docker-run '--name data-db notes'");
      assert.is(await note(host, 5000, 'a'), 'seed\na\n');
      await succeeds(
        host,
        "create --replace id db url :5001 trigger url :7000 docker-run '--name data-db notes'",
      );
      await succeeds(
        host,
        "create --replace id db url :5001 trigger url :7000 docker-run '--name data-db -e MARK=two notes'",
      );
      assert.is(await note(host, 5001, 'b'), 'seed\na\nb two\n');
      const edited = await host.run(
        ['env', 'EDITOR=sed -i s/MARK=two/MARK=three/', 'wormhole', 'edit', 'db'],
        {
          check: false,
        },
      );
      assert.equal([edited.stderr, edited.status], ['', 0]);
      assert.is(await note(host, 5001, 'c'), 'seed\na\nb two\nc three\n');
      await host.run('mkdir -p /root/links && wormhole export -o /root/links db');
      await host.run('sed -i s/MARK=three/MARK=four/ /root/links/*');
      await succeeds(host, 'apply --dry-run -f /root/links');
      await succeeds(host, 'apply -f /root/links');
      assert.is(await note(host, 5001, 'd'), 'seed\na\nb two\nc three\nd four\n');
      assert.is(await names(host), 'data-db wormhole-db-netns');
      await host.run('rm -r /root/links');
    });

    test('a name of its own that changes, or that somebody else has, and a change that fails', async () => {
      const host = at();
      const recipe = (args: string) => `create --replace id db url :5001 tail url :7000 docker-run '${args}'`;
      await succeeds(host, recipe('--name first notes'));
      await host.run('docker run -d --name others wormhole/tools sleep infinity');
      await fails(host, recipe('--name others notes'), /--name "others": there is a container of that name/);
      await fails(host, recipe('--name first notes false'), /link "db"|container "first"/);
      assert.is(await names(host), 'first others wormhole-db-netns');
      await fails(host, recipe('--name second notes false'), /link "db"|container "second"/);
      assert.is(await names(host), 'first others wormhole-db-netns');
      assert.match(await note(host, 5001, 'e'), /d four\ne\n$/);
      // A link without a trigger would have its container created again at once.
      await succeeds(host, 'stop db');
      await host.run('docker rm -f others first');
      await host.run('docker run -d --name first wormhole/tools sleep infinity');
      await fails(
        host,
        recipe('--name first -e MARK=x notes'),
        /--name "first": there is a container of that name/,
      );
      await host.run('docker rm -f first');
      await succeeds(host, 'delete --volumes db');
      assert.is(await names(host), '');
      await leavesNothing(host);
    });

    test('a change that was killed is put back before delete looks at the link', async () => {
      const host = at();
      await killMidway(host);
      await succeeds(host, 'delete p');
      await leavesNothing(host);
      assert.is(await names(host), '');
      await fails(host, 'delete p', /no link "p"/);
    });

    test('a change that was killed is put back before create --replace and --if-absent look at the link', async () => {
      const host = at();
      await killMidway(host);
      await fails(
        host,
        `create --if-absent id p url :4600 tail url :7000 docker-run slow`,
        /link "p" exists, and differs/,
      );
      assert.match(await succeeds(host, 'list'), /^c /m);
      await succeeds(host, 'create --if-absent id p url :4600 chain id c url :4601 tail url :4200');
      await killMidway(host);
      await succeeds(host, 'create --if-absent id p url :4600 chain id c url :4601 tail url :4200');
      await killMidway(host);
      await succeeds(host, 'create --replace id p url :4600 tail url :4200');
      assert.is(await note(host, 4600, 'x'), 'two x\n');
      assert.is(await note(host, 4601, 'x'), '');
      await succeeds(host, 'delete p');
      await leavesNothing(host);
      assert.is(await names(host), '');
    });

    test('a tail that is added is taken back with a change that fails', async () => {
      const host = at();
      await succeeds(host, 'create id t url :4620 tail url :4200 or url :4201');
      await occupied(host, 4621, () =>
        fails(
          host,
          'create --replace id t url :4621 tail url :4200 or url :4202',
          /^wormhole: 127\.0\.0\.1:4621 on this host is in use already by socat \(pid \d+\): stop what listens there, or take another port\n$/,
        ),
      );
      assert.match(await note(host, 4620, 'x'), / x\n$/);
      await succeeds(host, 'delete t');
      await leavesNothing(host);
    });

    test('a change that fails because the disk is full is taken back, and the link can be stopped, started and deleted', async () => {
      const host = at();
      const units = '/etc/systemd/system';
      await host.run(`cp -a ${units} /run/units && mount -t tmpfs -o size=1M tmpfs ${units} &&
        cp -a /run/units/. ${units} && systemctl daemon-reload`);
      await succeeds(host, 'create id t url :4620 tail url :4200 or url :4201');
      await host.run(`dd if=/dev/zero of=${units}/full bs=4k`, { check: false });
      await fails(
        host,
        'create --replace id t url :4620 tail url :4200 or url :4202',
        /^wormhole: ENOSPC[^;]*\n$/,
      );
      assert.match(await note(host, 4620, 'x'), / x\n$/);
      await succeeds(host, 'stop t');
      await succeeds(host, 'start t');
      assert.match(await note(host, 4620, 'x'), / x\n$/);
      await succeeds(host, 'delete t');
      await host.run(`umount ${units} && rm -r /run/units && systemctl daemon-reload`);
      await leavesNothing(host);
    });

    test('of several changes that were killed, one that cannot be put back keeps no other link closed', async () => {
      const host = at();
      await succeeds(host, 'create id a url :4620 tail url :4200');
      await succeeds(host, 'create id q url :4621 tail url :4200 or url :4201');
      const file = (id: string, recipe: string) =>
        `printf '[Link]\\nRecipe=${recipe}\\n' >/root/links/${id}.wormhole`;
      await host.run(`mkdir -p /root/links
        ${file('a', 'url :4622 tail url :7000 docker-run slow')}
        ${file('q', 'url :4623 tail url :4200 or url :4202')}`);
      await killed(host, 'apply -f /root/links', 'wormhole-a');
      await occupied(host, 4620, () =>
        fails(
          host,
          'stop q',
          /^wormhole: link "a" is put back, which a killed command had half changed, and does not listen \(.*socat.*\): wormhole start a; then give this command again\n$/,
        ),
      );
      assert.match(await note(host, 4621, 'x'), / x\n$/);
      await succeeds(host, 'start a');
      assert.match(await note(host, 4620, 'x'), / x\n$/);
      await succeeds(host, 'delete a q');
      await host.run('rm -r /root/links');
      await leavesNothing(host);
    });

    test('without its engine, a link that was half changed is neither deleted nor taken for what it is to be', async () => {
      const host = at();
      await succeeds(host, 'create id other url :4610 tail url :4200');
      await succeeds(host, "create id db url :5000 tail url :7000 docker-run 'notes'");
      await killed(host, `create --replace id db url :5000 tail url :7000 docker-run slow`, 'wormhole-db');
      await host.run('systemctl stop docker.socket docker');
      const down = /Docker is not running/;
      await fails(host, 'delete db', down);
      await fails(host, `create --if-absent id db url :5000 tail url :7000 docker-run slow`, down);
      await succeeds(host, 'delete other');
      await host.run('systemctl start docker');
      await succeeds(host, 'create --if-absent id db url :5000 tail url :7000 docker-run notes');
      assert.is(await note(host, 5000, 'x'), 'seed\nx\n');
      await succeeds(host, 'delete --volumes db');
      await leavesNothing(host);
      assert.is(await names(host), '');
    });

    test('delete of a link whose create was killed removes it, with the volumes that were made for it', async () => {
      const host = at();
      const volumes = async () => (await host.run('docker volume ls -q')).stdout;
      const recipe = (args: string) => `create id q url :4602 tail url :7000 docker-run '${args} slow'`;
      await killed(host, recipe('-v /data'), 'wormhole-q');
      assert.is(await volumes(), 'wormhole-q-data\n');
      await succeeds(host, 'delete q');
      await leavesNothing(host);
      assert.is(await names(host), '');
      assert.is(await volumes(), '');
      // So does every other command; a volume of an earlier link stays.
      await succeeds(host, "create id q url :4602 trigger url :7000 docker-run '-v /data notes'");
      assert.is(await note(host, 4602, 'a'), 'seed\na\n');
      await wormhole(host, 'delete q');
      await killed(host, recipe('-v /data -v /more'), 'wormhole-q');
      assert.is(await volumes(), 'wormhole-q-data\nwormhole-q-more\n');
      await succeeds(host, 'create id other url :4603 tail url :4200');
      assert.is(await volumes(), 'wormhole-q-data\n');
      await succeeds(host, 'delete --volumes other q');
      await leavesNothing(host);
      assert.is(await volumes(), '');
    });

    test('what the engine neither removes nor puts back keeps no other link from being changed', async () => {
      const host = at();
      await succeeds(host, 'create id a url :4630 trigger url :7000 docker-run notes');
      await succeeds(host, 'create id b url :4631 tail url :4200');
      assert.is(await note(host, 4630, 'x'), 'seed\nx\n');
      /** Expects commands to say that a link is left, and then to do their work, or to fail with one more line. */
      const tells = async (
        left: string,
        environment: string,
        commands: [args: string, failure?: RegExp][],
      ) => {
        const line = new RegExp(
          `wormhole: what a killed or failed command has left of link "${left}" cannot be cleaned up \\(.*the test refuses this\\): the next command that changes links tries again\n`,
          'g',
        );
        for (const [args, failure] of commands) {
          const { stderr, status } = await host.run(`${environment} wormhole ${args}`, { check: false });
          assert.match(stderr, line, args);
          assert.match(stderr.replaceAll(line, ''), failure ?? /^$/, args);
          assert.is(status, failure ? 1 : 0, args);
        }
      };
      await withRefusingEngine(
        host,
        { method: 'DELETE', url: /containers/, which: 'all' },
        async (environment) => {
          const deletes = async () => {
            const { stderr, status } = await host.run(`${environment} wormhole delete a`, { check: false });
            assert.match(stderr, /^wormhole: container \w+ cannot be removed: the test refuses this\n$/);
            assert.is(status, 1);
          };
          await deletes();
          const half = /^wormhole: link "a" is half created or half deleted .*: wormhole delete a\n$/;
          await tells('a', environment, [
            ['create id c url :4632 tail url :4200'],
            ['stop b'],
            ['start b'],
            ['create --replace id b url :4631 tail url :4201'],
            ['delete c'],
            ['start a', half],
            ['create --replace id a url :4633 tail url :4200', half],
            ['create id a url :4633 tail url :4200', /^wormhole: .*"a".*\n$/],
          ]);
          await deletes();
        },
      );
      await succeeds(host, 'delete --volumes a');
      await succeeds(host, 'create id db url :5000 tail url :7000 docker-run notes');
      await killed(host, 'create --replace id db url :5000 tail url :7000 docker-run slow', 'wormhole-db');
      await withRefusingEngine(host, { method: 'POST', url: /\/rename/, which: 'all' }, (environment) => {
        const half = /^wormhole: link "db" is half changed .*: give this command again\n$/;
        return tells('db', environment, [
          ['create id c url :4632 tail url :4200'],
          ['delete c'],
          ['stop db', half],
          ['delete db', half],
        ]);
      });
      await succeeds(host, 'delete b');
      assert.is(await note(host, 5000, 'x'), 'seed\nx\n');
      await succeeds(host, 'delete --volumes db');
      await leavesNothing(host);
      assert.is(await names(host), '');
    });

    test('a command that is killed when it has put a link back, and before that listens: the next one has it listen', async () => {
      const host = at();
      await killMidway(host);
      const directory = '/etc/systemd/system/wormhole-c.socket.d';
      await host.run(`mkdir ${directory}
        printf '[Socket]\\nExecStartPre=/bin/sleep infinity\\n' >${directory}/slow.conf
        wormhole create id other url :4640 tail url :4200 & pid=$!
        until systemctl is-active wormhole-c.socket | grep -q activating; do kill -0 $pid || exit; sleep 0.1; done
        kill -KILL $pid
        systemctl stop wormhole-c.socket; rm -r ${directory}; systemctl daemon-reload`);
      await succeeds(host, 'create id other url :4640 tail url :4200');
      assert.is(await note(host, 4601, 'x'), 'two x\n');
      await host.run('systemctl is-enabled wormhole-c.socket wormhole-p.socket');
      await succeeds(host, 'delete other p');
      await leavesNothing(host);
    });

    test('a command that is killed while it marks the parts of a link has neither begun to delete it nor left it half created', async () => {
      const host = at();
      await succeeds(host, 'create id p url :4600 chain id c url :4601 tail url :4200');
      // As that leaves it.
      await host.run('touch /run/wormhole/unfinished/c');
      await succeeds(host, 'create id other url :4640 tail url :4200');
      assert.is(await note(host, 4600, 'x'), 'two x\n');
      assert.is((await host.run('ls /run/wormhole/unfinished')).stdout, '');
      await succeeds(host, 'delete other p');
      await leavesNothing(host);
    });

    test('a child that has failed, and that a change removes, is forgotten', async () => {
      const host = at();
      await succeeds(host, 'create id p url :4600 chain id c url :4601 tail url :4200');
      const directory = '/etc/systemd/system/wormhole-c.service.d';
      await host.run(`mkdir ${directory}
        printf '[Service]\\nExecStartPre=/bin/false\\n' >${directory}/fails.conf; systemctl daemon-reload
        nc 127.0.0.1 4601 </dev/null & until systemctl -q is-failed wormhole-c.service; do sleep 0.1; done
        systemctl stop wormhole-c.socket; kill $! || true`);
      assert.match(await host.failedUnits(), /wormhole-c\.service/);
      await host.run(`rm -r ${directory}; systemctl daemon-reload`);
      await succeeds(host, 'create --replace id p url :4600 tail url :4200');
      assert.is(await host.failedUnits(), '');
      await succeeds(host, 'delete p');
      await leavesNothing(host);
    });

    test('delete --keep that was killed when it had renamed the container alone: the next delete leaves what that needs', async () => {
      const host = at();
      for (const [args, container] of [
        ['delete --keep k', 'wormhole-k-kept'],
        ['delete k', 'wormhole-k-kept'],
      ] as const) {
        await succeeds(host, 'create id k url :4650 trigger url :7000 docker-run notes');
        assert.match(await note(host, 4650, 'x'), /x\n$/);
        // As that leaves it.
        await host.run(`systemctl stop wormhole-k.socket wormhole-k.service wormhole-k-run.service
          docker stop wormhole-k wormhole-k-netns; docker rename wormhole-k ${container}`);
        const { stderr, status } = await wormhole(host, args);
        assert.match(stderr, new RegExp(`"${container}"`));
        assert.is(status, 0);
        assert.is(await names(host), `${container} ${container}-netns`);
        await host.run(
          `docker start ${container}-netns ${container} && docker rm -f ${container}-netns ${container}`,
        );
      }
      await succeeds(host, 'delete --volumes k');
      await leavesNothing(host);
    });

    test('a former container that cannot be removed keeps no link from being changed or created', async () => {
      const host = at();
      const link = (port: number, mark: string) =>
        `[Link]\nRecipe=url :${port} trigger url :7000 docker-run '-e MARK=${mark} notes'\n`;
      const write = (name: string, text: string) =>
        host.run(`mkdir -p /root/many && cat >/root/many/${name}.wormhole`, { input: text });
      for (const [name, port] of [
        ['x', 5010],
        ['y', 5011],
      ] as const) {
        await write(name, link(port, 'one'));
        await succeeds(host, 'apply -f /root/many');
        assert.is(await note(host, port, 'a'), 'seed\na one\n');
      }
      await write('x', link(5010, 'two'));
      await write('y', link(5011, 'two'));
      await write('z', '[Link]\nRecipe=url :5012 tail url :4200\n');
      await withRefusingEngine(
        host,
        { method: 'DELETE', url: /containers/, which: 'all' },
        async (environment) => {
          const { stdout, stderr, status } = await host.run(`${environment} wormhole apply -f /root/many`, {
            check: false,
          });
          for (const line of [/^changed link x /m, /^changed link y /m, /^created link z /m])
            assert.match(stdout, line, stderr);
          assert.is(
            stderr.replaceAll(/ \(.*?\)/g, ''),
            ['x', 'y']
              .map(
                (id) =>
                  `wormhole: link "${id}" is changed; its former container is not removed yet: the next command that changes links tries again\n`,
              )
              .join(''),
          );
          assert.is(status, 0);
          const again = await host.run(
            `${environment} wormhole create --replace id x url :5010 trigger url :7000 docker-run '-e MARK=three notes'`,
            { check: false },
          );
          assert.match(again.stderr, /the test refuses this/);
          assert.is(again.status, 1);
        },
      );
      assert.is(await note(host, 5010, 'b'), 'seed\na one\nb two\n');
      await succeeds(host, 'start z');
      assert.is(await names(host), 'wormhole-x wormhole-x-netns');
      assert.is(await note(host, 5011, 'b'), 'seed\na one\nb two\n');
      assert.is(await note(host, 5012, 'b'), 'two b\n');
      assert.is((await host.run('ls /var/lib/wormhole/former-links')).stdout, '');
      await host.run('rm -r /root/many');
      await succeeds(host, 'delete --volumes x y z');
      await leavesNothing(host);
    });

    test('delete --keep that fails leaves the link as it was', async () => {
      const host = at();
      await succeeds(host, `create ${TWO_CONTAINERS}`);
      assert.is(await note(host, 4001, 'a'), 'seed\na\n');
      const before = await names(host);
      const failing = () =>
        withRefusingEngine(host, { method: 'POST', url: /\/rename/, which: 3 }, async (environment) => {
          const { stderr, status } = await host.run(`${environment} wormhole delete --keep web`, {
            check: false,
          });
          assert.match(stderr, /^wormhole: [^\n]*the test refuses this[^\n]*\n$/);
          assert.is(status, 1);
        });
      await failing();
      assert.is(await names(host), before);
      assert.is(await note(host, 4001, 'b'), 'seed\na\nb\n');
      assert.not.match(await succeeds(host, 'list'), /created again/);
      await succeeds(host, 'stop web');
      await failing();
      assert.is(await names(host), before);
      assert.match(await succeeds(host, 'list'), /^web .* stopped /m);
      assert.is(await note(host, 4001, 'c'), '');
      await succeeds(host, 'start web');
      assert.is((await wormhole(host, 'delete --keep web')).status, 0);
      await host.run('docker rm -f $(docker ps -aq)');
      await succeeds(host, 'delete --volumes base');
      await leavesNothing(host);
    });
  },
);

/** Changes a link that has a child in place, and kills that when the child is gone already. */
async function killMidway(host: Host): Promise<void> {
  const listed = await succeeds(host, 'list --json');
  if (!/"id": "p"/.test(listed))
    await succeeds(host, 'create id p url :4600 chain id c url :4601 tail url :4200');
  assert.is(await note(host, 4601, 'x'), 'two x\n');
  await killed(host, `create --replace id p url :4600 tail url :7000 docker-run slow`, 'wormhole-p');
  await host.run('test ! -e /etc/systemd/system/wormhole-c.socket');
}

/** Kills a command while it waits for a container to be ready. */
async function killed(host: Host, args: string, container: string): Promise<void> {
  await host.run(`
    wormhole ${args} & pid=$!
    until docker inspect -f '{{.Config.Image}} {{.State.Running}}' ${container} 2>&1 | grep -qx 'slow true'
      do kill -0 $pid || exit; sleep 0.1; done
    kill -KILL $pid
    wait $pid; [ $? = 137 ]`);
}

/** Has socat listen at a port of 127.0.0.1 meanwhile. */
async function occupied(host: Host, port: number, use: () => Promise<void>): Promise<void> {
  await host.run(
    `systemd-run --collect --unit occupant socat TCP-LISTEN:${port},bind=127.0.0.1,fork EXEC:cat`,
  );
  await host.waitFor(async () => (await host.run(`ss -Hltn sport = :${port}`)).stdout !== '', {
    timeout: 10,
    what: `socat to listen at ${port}`,
  });
  try {
    await use();
  } finally {
    await host.run('systemctl stop occupant');
  }
}

/** The names of all containers, in order. */
async function names(host: Host): Promise<string> {
  return (await host.run("docker ps -a --format '{{.Names}}' | sort | paste -sd ' '")).stdout.trim();
}

/** Sends a line to a port of the host's 127.0.0.1, and returns the answer. */
async function note(host: Host, port: number, line: string): Promise<string> {
  const { stdout } = await host.run(`echo ${line} | timeout 60 nc -N 127.0.0.1 ${port}`, {
    check: false,
    timeout: 90,
  });
  return stdout;
}
