import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import { labSuite } from './suite.ts';

labSuite(
  'many at once',
  () => installedHost({ name: 'crowd', images: false }),
  (test, at) => {
    test('100 links on one host, each of which answers', async () => {
      const host = at();
      await host.run(
        'systemd-run --unit echo socat -t 20 TCP-LISTEN:9002,bind=127.0.0.1,fork,reuseaddr,backlog=256 EXEC:cat',
      );
      const script =
        'for i in $(seq 100); do wormhole create url :$((10000 + i)) tail url :9002 || exit 1; done';
      const { stdout } = await host.run(script, { timeout: 300 });
      assert.is(stdout.trim().split('\n').length, 100);
      assert.is(JSON.parse(await succeeds(host, 'list --json')).length, 100);
      // A few at a time: each forwarder is a node, and the machine has two processors.
      const answers = await host.run(
        `seq 100 | xargs -P 4 -I{} sh -c 'n=$((10000 + {})); [ "$(echo $n | nc -N 127.0.0.1 $n)" = $n ] && echo right'`,
        { timeout: 300 },
      );
      assert.is(answers.stdout.match(/right/g)?.length, 100);
    });

    test('deleting 50 of them, one by one, leaves the others', async () => {
      const host = at();
      await host.run('for i in $(seq 50); do wormhole delete $((10000 + i)) || exit 1; done', {
        timeout: 300,
      });
      const links = JSON.parse(await succeeds(host, 'list --json')) as { id: string }[];
      assert.is(links.length, 50);
      assert.is(links[0]?.id, '10051');
      assert.is((await host.run('echo still | nc -N 127.0.0.1 10051')).stdout, 'still\n');
    });

    test('delete --all deletes the others, with a daemon-reload for all of them, and leaves nothing', async () => {
      const host = at();
      await succeeds(host, 'create id family url :10200 chain url :10201 tail url :9002');
      // Units that systemd has read at a boot or a reload stay in memory until the next one.
      await host.run('systemctl daemon-reload');
      const reloads = async () =>
        Number(
          (await host.run('journalctl --sync; journalctl -b -o cat _PID=1 | grep -c "^Reloading"')).stdout,
        );
      const before = await reloads();
      await succeeds(host, 'delete --all');
      await leavesNothing(host);
      assert.is(await reloads(), before + 1);
      await succeeds(host, 'delete --all');
    });

    test('20 creates and deletes at once: each works or says why, and the end state is consistent', async () => {
      const host = at();
      for (let i = 0; i < 5; i++) await succeeds(host, `create id old${i} url :${11000 + i} tail url :9002`);
      const commands = [
        ...Array.from({ length: 5 }, (_, i) => `delete old${i}`),
        ...Array.from({ length: 5 }, (_, i) => `create id new${i} url :${11100 + i} tail url :9002`),
        // The same head: one wins.
        ...Array.from({ length: 5 }, () => 'create url :11200 tail url :9002'),
        // No head port: five different ones.
        ...Array.from({ length: 5 }, () => 'create tail url :9002'),
      ];
      const results = await Promise.all(commands.map((command) => wormhole(host, command)));
      for (const [i, { status, stderr }] of results.entries()) {
        assert.ok(
          status === 0 ? stderr === '' : /^wormhole: [^\n]+\n$/.test(stderr),
          `${commands[i]}: ${status} ${stderr}`,
        );
      }
      assert.equal(
        results.slice(0, 10).map(({ status }) => status),
        Array(10).fill(0),
      );
      assert.is(
        results.slice(10, 15).filter(({ status }) => status === 0).length,
        1,
        'one of five gets the port',
      );
      for (const { stderr, status } of results.slice(10, 15))
        if (status !== 0) assert.match(stderr, /listens on 127.0.0.1:11200/);
      assert.equal(
        results.slice(15).map(({ status }) => status),
        Array(5).fill(0),
      );

      const links = JSON.parse(await succeeds(host, 'list --json'));
      assert.is(links.length, 11);
      const { stdout } = await host.run(
        'cd /etc/systemd/system; ls wormhole-*.socket wormhole-*.service | grep -v "@\\|-\\(sync\\|sync-again\\|far\\|apply\\|apply-again\\|labels\\|labels-again\\|services-watch\\|services-register\\)\\.\\|-\\(counters\\|metrics\\|tunnel\\)[-.]"',
      );
      assert.is(stdout.trim().split('\n').length, 11 * 2, stdout);
      for (const { id, state } of links) {
        assert.is(state, 'listening', id);
        await succeeds(host, `delete ${id}`);
      }
      await leavesNothing(host);
    });

    test('create killed at any moment leaves nothing that the next command cannot clean up', async () => {
      const host = at();
      await host.run('ip netns add blue');
      let killed = 0;
      for (let ms = 40; ms <= 760; ms += 24) {
        const create = 'wormhole create id victim url blue@:12000 chain url :12001 tail url :9002';
        const { status } = await host.run(`timeout -s KILL ${ms / 1000} ${create}`, { check: false });
        if (status === 137) killed++;
        // Every other time the next command is a create, else a delete of what there is.
        if (ms % 48 === 40 || status === 0) {
          const again = await wormhole(host, create.replace('wormhole ', ''));
          if (again.status !== 0) assert.match(again.stderr, /id "victim" is taken/);
        }
        const gone = await wormhole(host, 'delete victim');
        if (gone.status !== 0) assert.match(gone.stderr, /no link "victim"/);
        await leavesNothing(host);
      }
      assert.ok(killed > 5, `only ${killed} were killed in time`);
    });

    test('delete killed at any moment is finished by the next command', async () => {
      const host = at();
      let killed = 0;
      for (let ms = 60; ms <= 460; ms += 40) {
        await succeeds(host, 'create id victim url :12000 chain url :12001 tail url :9002');
        const { status } = await host.run(`timeout -s KILL ${ms / 1000} wormhole delete victim`, {
          check: false,
        });
        if (status === 137) killed++;
        const marked = (await host.run('ls /run/wormhole/unfinished')).stdout;
        for (const { id, detail } of JSON.parse(await succeeds(host, 'list --json')))
          assert.is(/if no command does that, one was killed/.test(detail), marked.includes(`${id}\n`), id);
        await succeeds(host, 'create id next url :12002 tail url :9002');
        const gone = await wormhole(host, 'delete victim');
        if (gone.status !== 0) assert.match(gone.stderr, /no link "victim"/);
        await succeeds(host, 'delete next');
        await leavesNothing(host);
      }
      assert.ok(killed > 1, `only ${killed} were killed in time`);
    });
  },
);
