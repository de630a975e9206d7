import * as assert from 'uvu/assert';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* What an operator does to links that exist. */

const SERVER = 'socat -t 60 TCP-LISTEN:7000,fork,reuseaddr SYSTEM:"read line; uname -n"';

labSuite(
  'operating links',
  () => installedHost({ name: 'operator' }),
  (test, at) => {
    test('stop closes a link and resets its sessions, and list says how to start it', async () => {
      const host = at();
      await host.run(
        `systemd-run --unit echo socat -t 60 TCP-LISTEN:4000,bind=127.0.0.1,fork,reuseaddr EXEC:cat`,
      );
      await succeeds(host, 'create id pause url :3000 tail url :4000');
      const session = host.spawn('socat -d - TCP:127.0.0.1:3000');
      session.write('hello\n');
      await host.waitFor(() => session.stdout() === 'hello\n', { what: 'the session to be open' });
      await succeeds(host, 'stop pause');
      assert.match((await session.exited).stderr, /Connection reset by peer/);
      assert.match((await knock(host, 3000)).stderr, /refused/);
      assert.match(await succeeds(host, 'list'), /^pause .* stopped wormhole start pause$/m);
    });

    test('it stays stopped over a reboot and a repair, and start opens it again', async () => {
      const host = at();
      await host.reboot();
      await host.run('systemctl start wormhole-sync.service');
      assert.match((await knock(host, 3000)).stderr, /refused/);
      assert.match(await succeeds(host, 'list'), /^pause .* stopped /m);
      await host.run(
        `systemd-run --unit echo socat -t 60 TCP-LISTEN:4000,bind=127.0.0.1,fork,reuseaddr EXEC:cat`,
      );
      await succeeds(host, 'start pause');
      assert.is((await knock(host, 3000)).stdout, 'hello\n');
      await host.reboot();
      await host.run(
        `systemd-run --unit echo socat -t 60 TCP-LISTEN:4000,bind=127.0.0.1,fork,reuseaddr EXEC:cat`,
      );
      assert.is((await knock(host, 3000)).stdout, 'hello\n');
      await fails(
        host,
        'sleep pause',
        /link "pause" has no trigger, so nothing of it sleeps: wormhole stop pause/,
      );
      await succeeds(host, 'delete pause');
    });

    test('a link in a container that is stopped is not opened when its container changes', async () => {
      const host = at();
      const client = 'docker run -d --network none --name client wormhole/tools sleep infinity';
      await host.run(client);
      await succeeds(host, 'create id inside url :3001 docker-ns client tail url :4000');
      await succeeds(host, 'stop inside');
      await host.run(`docker rm -f client && ${client}`);
      await host.waitFor(
        async () => (await host.journal('-b', '-u', 'wormhole-sync.service')).includes('Finished'),
        { what: 'the container to be followed' },
      );
      assert.match(await succeeds(host, 'list'), /^inside .* stopped /m);
      const inside = () => host.container('client').runInNetwork('nc -N 127.0.0.1 3001', { check: false });
      assert.is.not((await inside()).status, 0);
      await succeeds(host, 'start inside');
      await host.container('client').runInNetwork('echo | nc -N 127.0.0.1 3001');
      await succeeds(host, 'delete inside');
      await host.run('docker rm -f client');
    });

    test('sleep ends what a trigger has started; the next connection starts the same container', async () => {
      const host = at();
      await succeeds(
        host,
        `create id nap url :3002 trigger url :7000 docker-run '--name nap wormhole/tools ${SERVER}'`,
      );
      await knock(host, 3002);
      const before = await host.container('nap').inspect('{{.Id}} {{.State.Running}}');
      assert.match(before, / true$/);
      await succeeds(host, 'sleep nap');
      assert.is(
        await host.container('nap').inspect('{{.Id}} {{.State.Running}}'),
        before.replace('true', 'false'),
      );
      assert.match(await succeeds(host, 'list'), /^nap .* sleeping$/m);
      await knock(host, 3002);
      assert.is(await host.container('nap').inspect('{{.Id}} {{.State.Running}}'), before);
    });

    test('stop and start of a link that runs a container: the container is stopped, and kept', async () => {
      const host = at();
      const before = await host.container('nap').inspect('{{.Id}}');
      await succeeds(host, 'stop nap');
      assert.is(await host.container('nap').inspect('{{.State.Running}}'), 'false');
      assert.match((await knock(host, 3002)).stderr, /refused/);
      // A change of another container wakes the repair.
      await host.run('docker run --rm --network none wormhole/tools true; sleep 1');
      assert.is(await host.container('nap').inspect('{{.State.Running}}'), 'false');
      await succeeds(host, 'start nap');
      await knock(host, 3002);
      assert.is(await host.container('nap').inspect('{{.Id}} {{.State.Running}}'), `${before} true`);
      await succeeds(host, 'delete nap');
    });

    test('a link whose container runs from creation on: stop holds it back over a reboot', async () => {
      const host = at();
      await succeeds(
        host,
        `create id eager url :3003 tail url :7000 docker-run '--name eager wormhole/tools ${SERVER}'`,
      );
      await succeeds(host, 'stop eager');
      await host.reboot();
      await host.run('systemctl start wormhole-sync.service');
      assert.is(await host.container('eager').inspect('{{.State.Running}}'), 'false');
      await succeeds(host, 'start eager');
      await knock(host, 3003);
      assert.is(await host.container('eager').inspect('{{.State.Running}}'), 'true');
      await succeeds(host, 'delete eager');
    });

    test('a full disk, or a reader that has gone away, does not hide that a link was created', async () => {
      const host = at();
      for (const [id, before, where, status] of [
        ['full', '', '>/dev/full', 1],
        // The reader of the pipe has ended before anything is written.
        ['gone', 'exec 4> >(exit); wait $!; ', '>&4', 0],
      ] as const) {
        const command = `${before}wormhole create id ${id} url :3007 tail url :3008 ${where}`;
        const result = await host.run(command, { check: false });
        assert.match(
          result.stderr,
          new RegExp(
            `^wormhole: cannot write to standard output \\(.*\\): link ${id} is created: ${id} tcp://127.0.0.1:3007\n$`,
          ),
        );
        assert.is(result.status, status);
        await succeeds(host, `delete ${id}`);
      }
    });

    test('an id that is unknown, or a part of another link', async () => {
      const host = at();
      for (const command of ['stop', 'start', 'sleep'])
        await fails(host, `${command} nobody`, /no link "nobody": see wormhole list/);
      await succeeds(host, 'create id outer url :3004 chain id inner url :3005 tail url :3006');
      await fails(host, 'stop inner', /link "inner" is a part of link "outer": name that one/);
      await succeeds(host, 'stop outer');
      assert.match((await knock(host, 3005)).stderr, /refused/);
      assert.match(await succeeds(host, 'list'), /^inner .* stopped wormhole start outer$/m);
      await succeeds(host, 'delete outer');
      await leavesNothing(host);
    });
  },
);

/** Sends a line to a port of a host's 127.0.0.1. */
function knock(host: Host, port: number) {
  return host.run(`echo hello | nc -v -N -w 50 127.0.0.1 ${port}`, { check: false, timeout: 60 });
}
