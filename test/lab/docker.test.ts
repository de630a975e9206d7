import * as assert from 'uvu/assert';
import { call, done, failing, starting } from './docker-calls.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

labSuite(
  'the containers of a run',
  () => boot({ name: 'runs' }),
  (test, at) => {
    const remove = (name: string) => done(at(), `await removeRun({ name: '${name}', link: 'link' })`);

    test('start, start again, stop, start, remove', async () => {
      const host = at();
      const start = starting('a', '-v /data wormhole/tools');
      assert.equal(await started(host, start), { container: 'wormhole-a' });
      assert.is(await netns(host, 'wormhole-a'), await netns(host, 'wormhole-a-netns'));
      assert.is.not(await netns(host, 'wormhole-a'), (await host.run('readlink /proc/1/ns/net')).stdout);
      assert.is(await label(host, 'wormhole-a', 'wormhole.link'), 'link');
      assert.is(await label(host, 'wormhole-a', 'wormhole.role'), 'container');
      assert.is(await label(host, 'wormhole-a-netns', 'wormhole.role'), 'netns');
      const first = await identity(host, 'a');
      assert.equal(await started(host, start), { container: 'wormhole-a' });
      assert.equal(await identity(host, 'a'), first, 'a second start does nothing');

      await host.container('wormhole-a').run('echo kept > /data/file; echo kept > /root-file');
      await done(
        host,
        `await stopContainer('a', 'wormhole-a', 1); await stopContainer('a', 'wormhole-a', 1)`,
      );
      assert.is(await running(host), 'wormhole-a-netns');
      await done(host, `await stopHolder('a'); await stopHolder('a')`);
      assert.is(await running(host), '');
      assert.equal(await started(host, start), { container: 'wormhole-a' });
      assert.is((await host.container('wormhole-a').run('cat /data/file /root-file')).stdout, 'kept\nkept\n');
      await remove('a');
      await remove('a');
      assert.is(await everything(host), '', 'no containers are left');
      assert.is((await host.run('docker volume ls -q')).stdout, 'wormhole-a-data\n', 'its volume is');
      await done(host, `await removeVolume('wormhole-a-data')`);
      assert.is((await host.run('docker volume ls -q')).stdout, '');
    });

    test('what listens in the namespace is there before the container is', async () => {
      const host = at();
      const request = `parseRunArguments('wormhole/tools socat - TCP:127.0.0.1:99')`;
      const pid = await done<number>(host, `return startHolder('b', 'link', ${request})`);
      const listener = host.spawn(`nsenter -t ${pid} -n socat -u TCP-LISTEN:99 OPEN:/dev/null`);
      await host.waitFor(() => host.run(`nsenter -t ${pid} -n ss -ltn | grep :99`), {
        what: 'socat to listen',
      });
      await done(host, `await startContainer('b', 'link', ${request})`);
      await listener.exited;
      await remove('b');
    });

    test('the namespace outlives a crash of the container', async () => {
      const host = at();
      await done(host, starting('c', 'wormhole/tools'));
      const before = await netns(host, 'wormhole-c');
      await host.run('docker kill wormhole-c');
      await done(host, starting('c', 'wormhole/tools'));
      assert.is(await netns(host, 'wormhole-c'), before);
      await remove('c');
    });

    test('killed at any step, another call completes it', async () => {
      const host = at();
      const start = starting('d', '-v /data wormhole/tools');
      await host.run('docker rmi -f wormhole/pause:2');
      const steps = await killedAtEachStep(host, start, async () => {
        assert.equal(await started(host, start), { container: 'wormhole-d' });
        await complete(host, 'd');
        await remove('d');
        assert.is(await everything(host), '');
      });
      assert.ok(steps >= 4, `died at ${steps} steps only`);
    });

    test('killed at any step, what there is can be removed', async () => {
      const host = at();
      await killedAtEachStep(host, starting('e', '-v /data wormhole/tools'), async () => {
        await remove('e');
        assert.is(await everything(host), '');
      });
    });

    test('two calls at once make one container', async () => {
      const host = at();
      const start = starting('f', 'wormhole/tools');
      await Promise.all([done(host, start), done(host, start), done(host, start)]);
      await complete(host, 'f');
      await remove('f');
    });

    test('a container that somebody removed is recreated, in the same namespace', async () => {
      const host = at();
      await done(host, starting('g', 'wormhole/tools'));
      const before = await netns(host, 'wormhole-g-netns');
      await host.run('docker rm -f wormhole-g');
      assert.equal(await started(host, starting('g', 'wormhole/tools')), { container: 'wormhole-g' });
      assert.is(await netns(host, 'wormhole-g'), before);
      await remove('g');
    });

    test('when somebody removed the holder, a new container has the volumes of the old one', async () => {
      const host = at();
      const start = starting('h', '--init -v /data -v named:/named wormhole/tools');
      await done(host, start);
      await host.container('wormhole-h').run('echo kept > /data/file; echo kept > /named/file');
      await host.run('docker rm -f wormhole-h-netns');
      const { warning } = await done<{ warning: string }>(host, start);
      assert.is(
        warning,
        'container "wormhole-h" was recreated, with its volumes: somebody removed "wormhole-h-netns"',
      );
      await complete(host, 'h');
      const content = 'cat /data/file /named/file';
      assert.is((await host.container('wormhole-h').run(content)).stdout, 'kept\nkept\n');
      assert.equal(await started(host, start), { container: 'wormhole-h' }, 'no warning any more');

      await host.run('systemctl restart docker');
      assert.equal(await started(host, start), { container: 'wormhole-h' }, 'after a restart of the engine');
      assert.is((await host.container('wormhole-h').run(content)).stdout, 'kept\nkept\n');

      const steps = await killedAtEachStep(host, start, async () => {
        await done(host, start);
        await complete(host, 'h');
        assert.is((await host.container('wormhole-h').run(content)).stdout, 'kept\nkept\n');
        await host.run('docker rm -f wormhole-h-netns');
      });
      assert.ok(steps >= 7, `died at ${steps} steps only`);
      await done(host, start);
      await host.run('docker rm -f wormhole-h-netns');
      await killedAtEachStep(host, start, async () => {
        await host.run('docker rm -f wormhole-h-netns');
        await done(host, start);
        await complete(host, 'h');
        assert.is(
          (await host.container('wormhole-h').run(content)).stdout,
          'kept\nkept\n',
          'removed once more',
        );
        await host.run('docker rm -f wormhole-h-netns');
      });
      await remove('h');
      assert.is(await everything(host), 'named', 'a named volume stays');
      await host.run('docker volume rm named');
    });

    test('when somebody restarted the holder, the container follows', async () => {
      const host = at();
      await done(host, starting('i', 'wormhole/tools'));
      await host.run('docker restart wormhole-i-netns');
      assert.is.not(await netns(host, 'wormhole-i'), await netns(host, 'wormhole-i-netns'));
      const { warning } = await done<{ warning: string }>(host, starting('i', 'wormhole/tools'));
      assert.is(warning, 'container "wormhole-i" was restarted, because "wormhole-i-netns" was');
      assert.is(await netns(host, 'wormhole-i'), await netns(host, 'wormhole-i-netns'));
      await remove('i');
    });

    test('a container of that name that is not ours is left alone', async () => {
      const host = at();
      await host.run('docker create --name wormhole-j wormhole/tools');
      await host.run('docker create --name wormhole-k-netns --label wormhole.link=other wormhole/tools');
      const hint = 'rename or remove it, or give this one another name with --name';
      assert.is(
        await failing(host, starting('j', 'wormhole/tools')),
        `ForeignContainer: container "wormhole-j" exists and is not a container of a link: ${hint}`,
      );
      assert.is(
        await failing(host, starting('k', 'wormhole/tools')),
        `ForeignContainer: container "wormhole-k-netns" exists and is of link "other": ${hint}`,
      );
      assert.match(await failing(host, `await stopContainer('j')`), /^ForeignContainer/);
      await remove('j');
      await remove('k');
      assert.is(await everything(host), 'wormhole-j\nwormhole-k-netns');
      await host.run('docker rm wormhole-j wormhole-k-netns');
    });

    test('the holder needs next to nothing, and stops at once', async () => {
      const host = at();
      const pid = await done<number>(host, `return startHolder('l', 'link', parseRunArguments('x'))`);
      const status = async () => (await host.run(`cat /proc/${pid}/status`)).stdout;
      // It may have to wait for the processor before it can sleep.
      await host.waitFor(async () => /^State:\tS/m.test(await status()), { what: 'the holder to sleep' });
      const stdout = await status();
      assert.match(stdout, /^Uid:\t65534\t/m);
      assert.match(stdout, /^CapBnd:\t0000000000000000$/m);
      assert.match(stdout, /^VmRSS:\s+\d{1,2} kB$/m);
      // One that ignored SIGTERM would take the two minutes.
      const began = Date.now();
      await host.run('docker stop -t 120 wormhole-l-netns', { timeout: 150 });
      assert.ok(Date.now() - began < 60_000, `${Date.now() - began} ms`);
      await remove('l');
    });

    test('two that load the image of holders at once load the same', async () => {
      const host = at();
      await host.run('docker rmi -f wormhole/pause:2');
      await Promise.all([1, 2, 3].map(() => done(host, 'return ensurePauseImage()')));
      assert.is((await host.run('docker images -qa --filter dangling=true')).stdout, '');
      assert.is((await host.run('docker images -q wormhole/pause:2')).stdout.trim().split('\n').length, 1);
    });

    test(`somebody's own container`, async () => {
      const host = at();
      await host.run('docker create --name own wormhole/tools');
      await done(host, `await startExisting('own'); await startExisting('own')`);
      assert.is(await running(host), 'own');
      await done(host, `await stopExisting('own', 1); await stopExisting('own', 1)`);
      assert.is(await running(host), '');
      await host.run('docker rm own');
      assert.match(await failing(host, `await startExisting('own')`), /^NoSuchContainer: no container "own"/);
      assert.is(await done(host, `return (await containerState('own')) ?? 'none'`), 'none');
    });

    test('a port that is taken, and then free', async () => {
      const host = at();
      const taker = host.spawn('socat TCP-LISTEN:8088,fork OPEN:/dev/null');
      await host.waitFor(() => host.run('ss -ltn | grep :8088'), { what: 'socat to listen' });
      const start = starting('m', '-p 8088:80 wormhole/tools');
      assert.match(
        await failing(host, start),
        /^Error: container "wormhole-m-netns" does not start: .*(address already in use|already allocated)/,
      );
      await taker.stop();
      await done(host, start);
      await remove('m');
    });

    test('an engine that is down', async () => {
      const host = at();
      await host.run('systemctl stop docker.socket docker');
      for (const body of [
        starting('n', 'wormhole/tools'),
        `await stopContainer('n')`,
        `await removeRun({ name: 'n', link: 'link' })`,
        `await containerState('n')`,
        `await ensureImage({ image: 'n', policy: 'always' })`,
        `await pullImage('n')`,
      ]) {
        assert.match(
          await failing(host, body),
          /^EngineDown: the Docker engine is unreachable \(connect E/,
          body,
        );
      }
      await host.run('systemctl start docker.socket docker');
    });
  },
);

/** Kills a call at its first request to the engine that changes something, then at its second, until it gets by. */
async function killedAtEachStep(host: Host, body: string, check: () => Promise<void>): Promise<number> {
  for (let step = 1; ; step++) {
    if (step > 30) throw new Error('no end of steps');
    const { killed, failure } = await call(host, body, step);
    if (failure) throw new Error(failure.message);
    await check();
    if (!killed) return step - 1;
  }
}

/** Checks that a run has its two containers, both running in one namespace, and no third. */
async function complete(host: Host, name: string): Promise<void> {
  const { stdout } = await host.run(
    `docker ps -a --format '{{.Names}}' --filter label=wormhole.run=${name} | sort`,
  );
  assert.is(stdout, `wormhole-${name}\nwormhole-${name}-netns\n`);
  assert.is(await netns(host, `wormhole-${name}`), await netns(host, `wormhole-${name}-netns`));
}

async function identity(host: Host, name: string): Promise<string> {
  const format = '{{.Id}} {{.State.StartedAt}} {{.State.Pid}}';
  return (await host.run(`docker inspect -f '${format}' wormhole-${name} wormhole-${name}-netns`)).stdout;
}

async function netns(host: Host, container: string): Promise<string> {
  return (await host.run(`readlink /proc/$(docker inspect -f '{{.State.Pid}}' ${container})/ns/net`)).stdout;
}

async function label(host: Host, container: string, name: string): Promise<string> {
  return (
    await host.run(`docker inspect -f '{{index .Config.Labels "${name}"}}' ${container}`)
  ).stdout.trim();
}

async function running(host: Host): Promise<string> {
  return (await host.run(`docker ps --format '{{.Names}}' | sort`)).stdout.trim();
}

/** What a start tells, without what differs each time. */
async function started(host: Host, start: string): Promise<object> {
  const { id, volumes, ...rest } = await done<{ id: string; volumes?: unknown }>(host, start);
  assert.match(id, /^[0-9a-f]{64}$/);
  return rest;
}

/** All containers, and all volumes but those that were made for runs. */
async function everything(host: Host): Promise<string> {
  const { stdout } = await host.run(
    `docker ps -a --format '{{.Names}}' | sort; docker volume ls -q | grep -v ^wormhole- || true`,
  );
  return stdout.trim();
}
