import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds, wormhole } from './installed.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/*
 * Labels prove nothing: docker commit copies them, images bring them, and docker run sets any. What a link removes, stops or
 * joins has the names and labels of a link's containers, and the holder has their image.
 */

const SERVER = "docker-run 'wormhole/tools socat TCP-LISTEN:7000,fork,reuseaddr EXEC:hostname'";

const ask = async (host: Host, port: number) =>
  (await host.run(`timeout 60 nc 127.0.0.1 ${port} </dev/null`, { check: false })).stdout;

/** All containers, by name and state, and all volumes. */
const everything = async (host: Host) =>
  (await host.run("docker ps -a --format '{{.Names}} {{.State}}' | sort; docker volume ls -q")).stdout.trim();

/** Deletes a link, and returns the lines that delete prints on stderr. */
async function remains(host: Host, id: string): Promise<string[]> {
  const { status, stdout, stderr } = await wormhole(host, `delete ${id}`);
  assert.is(status, 0, stderr);
  assert.is(stdout, '');
  return stderr.trim().split('\n').filter(Boolean).sort();
}

labSuite(
  'labels are not trusted',
  () => installedHost({ name: 'labels' }),
  (test, at) => {
    test('delete leaves a copy by docker commit alone, with its volumes, and says so', async () => {
      const host = at();
      await succeeds(host, `create id a url :7001 trigger url :7000 ${SERVER}`);
      assert.is.not(await ask(host, 7001), '');
      await host.run('docker commit wormhole-a copy && docker run -d --name mine -v /data copy sleep 1000');
      const volume = (await host.run('docker volume ls -q')).stdout;
      assert.equal(await remains(host, 'a'), [
        'wormhole: container "mine" has the labels of link "a", and is none of its containers: it stays; docker rm -f mine removes it',
      ]);
      assert.is(await everything(host), `mine running\n${volume}`.trim());
      await host.run('docker rm -fv mine; docker rmi copy');
      await leavesNothing(host);
    });

    test('delete leaves containers alone that somebody has labelled, whatever the labels say', async () => {
      const host = at();
      const labels = (role: string) =>
        `--label wormhole.link=b --label wormhole.run=b --label wormhole.role=${role}`;
      await host.run(`docker run -d --name one ${labels('container')} wormhole/tools`);
      await host.run(`docker run -d --name two ${labels('netns')} wormhole/tools`);
      await host.run('docker run -d --name three --label wormhole.run=b wormhole/tools');
      await succeeds(host, `create id b url :7001 trigger url :7000 ${SERVER}`);
      assert.is.not(await ask(host, 7001), '');
      const lines = await remains(host, 'b');
      assert.equal(
        lines.map((line) => /container "(\w+)"/.exec(line)?.[1]),
        ['one', 'three', 'two'],
      );
      assert.is(await everything(host), 'one running\nthree running\ntwo running');
      await host.run('docker rm -f one two three');
      await leavesNothing(host);
    });

    test('a container that has the name too is not taken for the one of the link', async () => {
      const host = at();
      const labels = '--label wormhole.link=c --label wormhole.run=c';
      await host.run(`docker run -d --name wormhole-c ${labels} wormhole/tools`);
      await succeeds(host, `create id c url :7001 trigger url :7000 ${SERVER}`);
      assert.is(await ask(host, 7001), '');
      assert.match(
        await host.journal('-b', '-o', 'cat', '-t', 'wormhole-c-run'),
        /container "wormhole-c" exists and is not a container of a link/,
      );
      assert.is((await remains(host, 'c')).length, 1);
      assert.is(await everything(host), 'wormhole-c running');
      await host.run('docker rm -f wormhole-c');
      await leavesNothing(host);
    });

    test('a holder without our image is not a holder: it is neither joined, stopped nor removed', async () => {
      const host = at();
      const labels = '--label wormhole.link=d --label wormhole.run=d --label wormhole.role=netns';
      await host.run(`docker run -d --name wormhole-d-netns ${labels} wormhole/tools`);
      await succeeds(host, `create id d url :7001 trigger url :7000 ${SERVER}`);
      assert.is(await ask(host, 7001), '');
      assert.match(
        await host.journal('-b', '-o', 'cat', '-u', 'wormhole-netns@run:d.service'),
        /container "wormhole-d-netns" exists and is not a container of a link/,
      );
      assert.is((await remains(host, 'd')).length, 1);
      assert.is(await everything(host), 'wormhole-d-netns running');
      // Neither does another image's taking our name change what a holder runs.
      await host.run(
        'docker rm -f wormhole-d-netns; docker rmi -f wormhole/pause:2; docker tag wormhole/tools wormhole/pause:2',
      );
      await succeeds(host, `create id d url :7001 trigger url :7000 ${SERVER}`);
      assert.is.not(await ask(host, 7001), '');
      assert.is((await host.run("docker inspect -f '{{.Path}}' wormhole-d-netns")).stdout, '/pause\n');
      assert.equal(await remains(host, 'd'), []);
      await leavesNothing(host);
    });

    test('an image whose labels are those of links runs as any other', async () => {
      const host = at();
      const dockerfile = 'FROM wormhole/tools\\nLABEL wormhole.role=netns wormhole.link=x wormhole.run=y\\n';
      await host.run(`printf '${dockerfile}' | docker build -q -t labelled -`);
      await succeeds(
        host,
        `create id e url :7001 trigger url :7000 ${SERVER.replace('wormhole/tools', 'labelled')}`,
      );
      assert.is.not(await ask(host, 7001), '');
      await host.run('docker rm -f wormhole-e-netns');
      await host.waitFor(async () => (await ask(host, 7001)) !== '', {
        timeout: 60,
        what: 'the link to heal',
      });
      assert.equal(await remains(host, 'e'), []);
      assert.is(await everything(host), '');
      await leavesNothing(host);
    });

    test('containers of a link that somebody has renamed are the business of that person', async () => {
      const host = at();
      await succeeds(host, `create id f url :7001 trigger url :7000 ${SERVER}`);
      assert.is.not(await ask(host, 7001), '');
      await host.run('docker rename wormhole-f kept && docker rename wormhole-f-netns kept-netns');
      await host.waitFor(async () => (await ask(host, 7001)) !== '', {
        timeout: 60,
        what: 'the link to heal',
      });
      const lines = await remains(host, 'f');
      assert.is(lines.length, 2);
      for (const [at, name] of ['kept', 'kept-netns'].entries())
        assert.ok(lines[at]?.includes(`container "${name}"`));
      assert.is(await everything(host), 'kept running\nkept-netns running');
      await host.run('docker rm -f kept kept-netns');
      await leavesNothing(host);
    });

    test('--name: removed with the link, and kept if another container has the name by then', async () => {
      const host = at();
      const named = SERVER.replace("'wormhole", "'--name web -v /data wormhole");
      await succeeds(host, `create id g url :7001 trigger url :7000 ${named}`);
      assert.is.not(await ask(host, 7001), '');
      assert.match(await everything(host), /^web running$/m);
      assert.equal(await remains(host, '--volumes g'), []);
      assert.is(await everything(host), '');

      await succeeds(host, `create id g url :7001 trigger url :7000 ${named}`);
      assert.is.not(await ask(host, 7001), '');
      await host.run('docker rm -fv web && docker run -d --name web wormhole/tools');
      assert.equal(await remains(host, '--volumes g'), []);
      assert.is(await everything(host), 'web running');
      await host.run('docker rm -f web');
      await leavesNothing(host);
    });

    test('a link deleted through the daemon: it says what stays, and so does its journal', async () => {
      const host = at();
      await host.run(
        'docker run -d --name lookalike --label wormhole.link=h --label wormhole.run=h wormhole/tools',
      );
      await succeeds(host, `create id h url :7001 trigger url :7000 ${SERVER}`);
      const told = await wormhole(host, '-H unix:///run/wormhole.sock delete h');
      assert.match(told.stderr, /^wormhole: container "lookalike" has the labels of link "h", .*\n$/);
      assert.is(told.status, 0);
      assert.match(
        await host.journal('-b', '-o', 'cat', '-t', 'wormholed'),
        /delete h: container "lookalike" has the labels of link "h"/,
      );
      await host.run('docker rm -f lookalike');
      await leavesNothing(host);
    });
  },
);
