import * as assert from 'uvu/assert';
import { call, done, failing, starting } from './docker-calls.ts';
import { boot, type Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

const tools = '127.0.0.1:5000/wormhole/tools';

labSuite(
  'images and readiness',
  () => boot({ name: 'images' }),
  (test, at) => {
    test('a registry of our own has wormhole/tools', async () => {
      const host = at();
      await host.run(
        `printf 'version: 0.1\\nstorage:\\n  filesystem:\\n    rootdirectory: /var/lib/docker-registry\\nhttp:\\n  addr: 127.0.0.1:5000\\n' > /root/registry.yml
        systemd-run --unit registry docker-registry serve /root/registry.yml`,
      );
      await host.waitFor(() => host.run('curl -sf 127.0.0.1:5000/v2/'), { what: 'the registry to answer' });
      await host.run(`docker tag wormhole/tools ${tools} && docker push ${tools} && docker rmi ${tools}`);
      await host.run('docker save -o /root/tools.tar wormhole/tools && docker rmi wormhole/tools');
    });

    test('an image is pulled when it is missing, and progress is told', async () => {
      const host = at();
      const pull = `const texts = []; await ensureImage({ image: '${tools}', policy: 'missing', onProgress: ({ text }) => texts.push(text) }); return texts;`;
      assert.is(await done(host, `return hasImage('${tools}')`), false);
      const texts = await done<string[]>(host, pull);
      assert.is(texts[0], `pulling ${tools}`);
      assert.ok(texts.includes(`pulling ${tools}: 0 of 1 layers`), texts.join('\n'));
      assert.match(texts.at(-1) ?? '', new RegExp(`^pulling ${tools}: 1 of 1 layers, (\\d+) of \\1 MB$`));
      assert.is(new Set(texts).size, texts.length, 'no line is told twice');
      assert.is(await done(host, `return hasImage('${tools}')`), true);
      assert.equal(await done(host, pull), []);
      await done(host, starting('a', tools));
      await done(host, `await removeRun({ name: 'a', link: 'link' })`);
    });

    test('platforms', async () => {
      const host = at();
      const own = (await host.run(`docker version -f '{{.Server.Arch}}'`)).stdout.trim();
      const other = own === 'arm64' ? 'amd64' : 'arm64';
      assert.is(await done(host, `return hasImage('${tools}', 'linux/${own}')`), true);
      assert.is(await done(host, `return hasImage('${tools}', 'linux/${other}')`), false);
      assert.is(
        await failing(
          host,
          `await ensureImage({ image: '${tools}', policy: 'missing', platform: 'linux/${other}' })`,
        ),
        `NoImage: image "${tools}" cannot be pulled: it is not made for linux/${other}`,
      );
      assert.match(
        await failing(
          host,
          `await ensureImage({ image: '${tools}', policy: 'never', platform: 'linux/${other}' })`,
        ),
        /^NoImage: image ".*" for linux\/.* is missing, and --pull never forbids to pull it: docker pull/,
      );
    });

    test('what cannot be pulled', async () => {
      const host = at();
      assert.match(
        await failing(host, `await ensureImage({ image: '127.0.0.1:5000/none', policy: 'missing' })`),
        /^NoImage: image "127.0.0.1:5000\/none" cannot be pulled: .*manifest unknown/,
      );
      assert.match(
        await failing(host, `await ensureImage({ image: '127.0.0.1:5001/none', policy: 'missing' })`),
        /^NoImage: image "127.0.0.1:5001\/none" cannot be pulled: .*connection refused \(its registry is unreachable\)$/,
      );
      assert.match(
        await failing(
          host,
          `await ensureImage({ image: '${tools}', policy: 'always' }) ; await ensureImage({ image: 'wormhole/none', policy: 'never' })`,
        ),
        /^NoImage: image "wormhole\/none" is missing, and --pull never forbids to pull it: docker pull wormhole\/none$/,
      );
      assert.match(
        await failing(host, starting('a', 'wormhole/none')),
        /^Error: container "wormhole-a" cannot be made: No such image: wormhole\/none/,
      );
      await done(host, `await removeRun({ name: 'a', link: 'link' })`);
    });

    test('35 s without a word end neither a pull nor the stream of events', async () => {
      const host = at();
      await host.run(`docker rmi ${tools}`);
      await slowRegistry(host, 'slow', 35);
      const slow = '127.0.0.1:5002/wormhole/tools';
      const began = Date.now();
      const events = await done<number>(
        host,
        `let events = 0;
        const stop = await watchContainers(() => events++);
        await pullImage('${slow}');
        const early = events;
        await startHolder('a', 'link', parseRunArguments('x'));
        for (let n = 0; n < 600 && events === 0; n++) await new Promise((resolve) => setTimeout(resolve, 100));
        await new Promise((resolve) => setTimeout(resolve, 500));
        stop();
        return early === 0 ? events : -1;`,
      );
      assert.ok(Date.now() - began > 35_000, 'the registry was not slow');
      assert.is(events, 1);
      await done(host, `await removeRun({ name: 'a', link: 'link' })`);
      await host.run(`docker rmi ${slow}; systemctl stop slow`);
    });

    test('an engine that is stopped amid a pull', async () => {
      const host = at();
      await slowRegistry(host, 'slower', 20);
      const pulling = call(host, `await pullImage('127.0.0.1:5002/wormhole/tools')`);
      await host.waitFor(() => host.run('journalctl -u slower -b -o cat | grep blobs'), {
        what: 'the pull to begin',
      });
      await host.run('systemctl stop docker.socket docker');
      const { failure } = await pulling;
      assert.match(`${failure?.name}: ${failure?.message}`, /^(EngineDown|NoImage): [^\n]+$/);
      await host.run(
        'systemctl stop slower; systemctl start docker.socket docker && docker load -i /root/tools.tar',
      );
    });

    test('ready: at once without a health check, but not in less than 150 ms', async () => {
      const host = at();
      const { lived, pid } = await done<{ lived: number; pid: number }>(
        host,
        ready('a', 'wormhole/tools', 'const { pid } = state; return { lived, pid };', 60_000),
      );
      assert.ok(lived >= 150 && lived < 30_000, `${lived} ms`);
      assert.is(String(pid), (await host.run(`docker inspect -f '{{.State.Pid}}' wormhole-a`)).stdout.trim());
      await done(host, `await removeRun({ name: 'a', link: 'link' })`);
    });

    test('not ready: it ended at once, and its last words', async () => {
      const host = at();
      for (const [lives, words] of [
        ['0', /"wormhole-a" ended with status 7 after \d+\.\d s$/],
        ['0.08', /"wormhole-a" ended with status 7 after \d+\.\d s$/],
      ] as const) {
        const command = `sh -c "echo out; echo '\\033[31merr\\033[0m' >&2; sleep ${lives}; exit 7"`;
        assert.match(
          await notReady(host, `wormhole/tools ${command}`),
          new RegExp(`^NotReady: container ${words.source}`),
        );
        const log = await done<string[]>(host, `return lastLog('wormhole-a', 5)`);
        assert.equal([...log].sort(), ['err', 'out']);
        assert.is((await done<string[]>(host, `return lastLog('wormhole-a', 1)`)).length, 1);
        await done(host, `await removeRun({ name: 'a', link: 'link' })`);
      }
      assert.equal(await done(host, `return lastLog('wormhole-a', 5)`), []);
    });

    test('what an earlier run of the container said is not its last words', async () => {
      const host = at();
      const start = starting(
        'a',
        `-v state:/s wormhole/tools sh -c 'test -e /s/x || echo first; touch /s/x; sleep 1000'`,
      );
      await done(host, start);
      await host.run(
        'until docker exec wormhole-a test -e /s/x; do sleep 0.1; done; sleep 2.5; docker kill wormhole-a',
      );
      await done(host, start);
      assert.equal(await done(host, `return lastLog('wormhole-a', 5)`), []);
      await done(host, `await removeRun({ name: 'a', link: 'link' })`);
    });

    test('a command that is not there', async () => {
      const host = at();
      assert.match(
        await failing(host, starting('a', 'wormhole/tools /no/such')),
        /^Error: container "wormhole-a" does not start: .*"\/no\/such".* no such file/,
      );
      assert.match(
        await failing(host, `await waitUntilReady('wormhole-a', { timeout: 1000 })`),
        /^NotReady: container "wormhole-a" has not been started \(.*no such file/,
      );
      await done(host, `await removeRun({ name: 'a', link: 'link' })`);
    });

    test('with a health check: when it is healthy, and why when it is not', async () => {
      const host = at();
      const build = (name: string, check: string, more = '') =>
        host.run(
          `printf 'FROM wormhole/tools\\nHEALTHCHECK --interval=1s ${more} CMD ${check}\\n' | docker build -t ${name} -`,
        );
      await build('well', 'sleep 0.1; test -e /ready', '--retries=30');
      await build('ill', 'echo no database; exit 1', '--retries=2');
      await build('slow', 'exit 1', '--start-period=60s');

      const lived = await done<number>(
        host,
        ready('a', `well sh -c 'sleep 3; touch /ready; sleep 1000'`, 'return lived', 60_000),
      );
      assert.ok(lived > 3_000, `healthy after ${lived} ms`);
      assert.is(
        await failing(host, ready('b', 'ill', 'return lived', 60_000)),
        'NotReady: container "wormhole-b" is unhealthy ("no database")',
      );
      assert.is(
        await failing(host, ready('c', 'slow', 'return lived', 2_000)),
        'NotReady: container "wormhole-c" is not healthy after 2.0 s',
      );
      assert.match(
        await failing(host, ready('d', `slow sh -c 'sleep 1; exit 4'`, 'return lived', 60_000)),
        /^NotReady: container "wormhole-d" ended with status 4 after \d+\.\d s$/,
      );
      await done(host, `for (const name of ['a', 'b', 'c', 'd']) await removeRun({ name, link: 'link' })`);
    });
  },
);

/** The words for: start a run, wait until it is ready for `timeout` ms, and go on with `state`, and how long it runs, in ms. */
function ready(name: string, args: string, then: string, timeout = 5_000): string {
  return `await (async () => { ${starting(name, args)} })();
    const state = await waitUntilReady('wormhole-${name}', { timeout: ${timeout} });
    const lived = Date.now() - state.startedAt;
    ${then}`;
}

/**
 * Why a container `a` that ends at once is not ready. It is started again when the machine had so much else to do that it ran for the
 * 150 ms after which it is.
 */
async function notReady(host: Host, args: string): Promise<string> {
  for (let n = 0; n < 20; n++) {
    const { value: lived, failure } = await call<number>(host, ready('a', args, 'return lived'));
    if (failure) return `${failure.name}: ${failure.message}`;
    assert.ok((lived ?? 0) >= 150, `ready after ${lived} ms`);
    await done(host, `await removeRun({ name: 'a', link: 'link' })`);
  }
  throw new Error('each of 20 containers ran for 150 ms');
}

/** Puts a registry on port 5002, as a unit, that is the one on 5000, only that a layer begins to come after so many seconds. */
async function slowRegistry(host: Host, unit: string, seconds: number): Promise<void> {
  const program = `
    const http = require('node:http');
    http.createServer(({ url, method, headers }, answer) => {
      console.log(method, url);
      const go = () => http.request({ port: 5000, path: url, method, headers }, (reply) => {
        answer.writeHead(reply.statusCode, reply.headers);
        reply.pipe(answer);
      }).end();
      setTimeout(go, url.includes('/blobs/') ? ${seconds * 1000} : 0);
    }).listen(5002, '127.0.0.1');`;
  await host.run(['systemd-run', '--quiet', '--unit', unit, 'node', '-e', program]);
  await host.waitFor(() => host.run('curl -sf 127.0.0.1:5002/v2/'), { what: 'the slow registry to answer' });
}
