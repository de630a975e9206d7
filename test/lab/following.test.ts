import * as assert from 'uvu/assert';
import { installedHost, leavesNothing, succeeds } from './installed.ts';
import { listens } from './listening.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/** What a link may take to follow its container on a machine that has little else to do, seconds. */
const PROMISE = 2;

/**
 * How many times as long as by hand it may take beyond that on a busy one, where either is late by chance. A link that missed the change
 * would not follow it at all.
 */
const SLACK = 10;

/** A server in one container, a client in another, and a link between. Both images are wormhole/tools. */
const SERVER =
  'docker run -d --restart always --network none --name server wormhole/tools socat -t 10 TCP-LISTEN:7000,fork,reuseaddr SYSTEM:"uname -n"';
const CLIENT = 'docker run -d --restart always --network none --name client wormhole/tools sleep infinity';

labSuite(
  'links follow their containers',
  () => installedHost({ name: 'follow' }),
  (test, at) => {
    test('a link between two containers, and one from the host', async () => {
      const host = at();
      await host.run(`${SERVER} && ${CLIENT}`);
      await succeeds(host, 'create url :7000 docker-ns client tail docker-ns server');
      await succeeds(host, 'create url :7000 tail docker-ns server');
      await answers(host);
    });

    const changes: [string, string][] = [
      ['docker restart of the tail', 'docker restart -t 0 server'],
      ['docker restart of the head', 'docker restart -t 0 client'],
      ['stop and start of the tail', 'docker stop -t 0 server; sleep 3; docker start server'],
      ['stop and start of the head', 'docker stop -t 0 client; sleep 3; docker start client'],
      ['a tail that is removed and created again', `docker rm -f server; ${SERVER}`],
      ['a head that is removed and created again', `docker rm -f client; ${CLIENT}`],
      ['both at once', 'docker restart -t 0 server client'],
      ['restarts in a row', 'for i in 1 2 3 4 5 6 7 8; do docker restart -t 0 client; sleep 0.5; done'],
      ['a restart of dockerd', 'systemctl restart docker'],
      ['a dockerd that was killed', 'systemctl kill -s KILL docker; sleep 4; systemctl start docker'],
    ];
    for (const [what, command] of changes) {
      test(`${what} is followed within ${PROMISE} s`, async () => {
        const host = at();
        await host.run(command, { timeout: 120 });
        await answers(host);
      });
    }

    test('a namespace that is created again is followed', async () => {
      const host = at();
      const make =
        'ip netns add green && ip -n green link set lo up && systemd-run --collect --unit green -p NetworkNamespacePath=/run/netns/green socat -t 20 TCP-LISTEN:1,fork,reuseaddr EXEC:"echo green"';
      // The very first one, while wormhole-sync.service runs, which has then to notice it itself.
      await host.run('systemctl start --no-block wormhole-sync.service');
      await host.run(make);
      await succeeds(host, 'create url :7001 tail url green@:1');
      const ask = async () => (await host.run('nc -N 127.0.0.1 7001 </dev/null')).stdout;
      assert.is(await ask(), 'green\n');
      await host.run('systemctl stop green; ip netns del green; sleep 1');
      await host.run(make);
      await host.waitFor(async () => (await ask()) === 'green\n', {
        timeout: 20,
        what: 'the link to follow netns green',
      });
    });

    test('a connection starts a container into which another link leads already', async () => {
      const host = at();
      const server = SERVER.replace('--restart always', '').replace('server', 'shared');
      await host.run(`${server}; docker stop -t 0 shared`);
      await succeeds(host, 'create id leads url :7002 trigger url :7000 docker-ns shared');
      await host.run('docker start shared');
      await succeeds(host, 'create id starts url :7003 tail url :7000 docker-ns shared');
      await host.run('docker stop -t 0 shared');
      const ask = async (port: number) =>
        (await host.run(`timeout 100 nc -N 127.0.0.1 ${port} </dev/null`, { check: false })).stdout;
      assert.match(await ask(7002), /^[0-9a-f]{12}\n$/);
      await host.waitFor(async () => (await ask(7003)) === (await ask(7002)), {
        timeout: 20,
        what: 'both links to reach the container',
      });
      await succeeds(host, 'delete leads starts');
      await host.run('docker rm -f shared');
    });

    test('an engine that answers nonsense for a while is asked again', async () => {
      const host = at();
      // It knows one engine until it ends.
      const hasEnded = () =>
        host.waitFor(
          async () =>
            (await host.run('systemctl show -P ActiveState wormhole-sync.service')).stdout === 'inactive\n',
          { timeout: 60, what: 'wormhole-sync.service to end' },
        );
      await host.run('cat >/run/engine-proxy.mjs', { input: ENGINE_PROXY });
      await host.run(
        `systemd-run -q --unit engine-proxy node /run/engine-proxy.mjs
         mkdir -p /run/systemd/system/wormhole-sync.service.d
         printf '[Service]\\nEnvironment=DOCKER_HOST=unix:///run/engine-proxy.sock\\n' >/run/systemd/system/wormhole-sync.service.d/proxy.conf
         systemctl daemon-reload
         until systemctl is-active -q engine-proxy && test -S /run/engine-proxy.sock; do sleep 0.1; done`,
      );
      await hasEnded();
      await host.run('touch /run/engine-is-broken; docker restart -t 0 server');
      await host.waitFor(
        async () =>
          /says of container "(server|client)": made by the test\. The links that it concerns .* tried again in 0\.5 s/.test(
            await host.journal('-b', '-o', 'cat', '-u', 'wormhole-sync.service'),
          ),
        { timeout: 30, what: 'the answer to be in the journal' },
      );
      await host.run('rm /run/engine-is-broken');
      await answers(host);
      await hasEnded();
      await host.run(
        'rm -r /run/systemd/system/wormhole-sync.service.d; systemctl daemon-reload; systemctl stop engine-proxy',
      );
    });

    test('a container that changes when nothing watches is followed all the same', async () => {
      const host = at();
      // systemd watches again when the service is quite dead; it looks no more once it stops.
      const directory = '/run/systemd/system/wormhole-sync.service.d';
      await host.run(
        `mkdir -p ${directory}; printf '[Service]\\nExecStopPost=sh -c "until test -e /run/late-ends; do sleep 0.1; done"\\n' >${directory}/late.conf; systemctl daemon-reload
         docker restart -t 0 server
         until [ "$(systemctl show -P SubState wormhole-sync.service)" = stop-post ]; do sleep 0.1; done
         docker restart -t 0 server; touch /run/late-ends`,
        { timeout: 120 },
      );
      const name = await host.container('server').inspect('{{.Config.Hostname}}');
      await host.waitFor(
        async () =>
          (await host.run('nc -N 127.0.0.1 7000 </dev/null', { check: false })).stdout === `${name}\n`,
        { timeout: 20, what: 'the link to reach the container' },
      );
      await host.run(`rm -r ${directory} /run/late-ends; systemctl daemon-reload`);
    });

    test('a namespace that changes while systemd reloads its units, and watches nothing, is followed all the same', async () => {
      const host = at();
      const make = (answer: string) => `ip netns add reload; ip -n reload link set lo up
        setsid -f ip netns exec reload socat -t 20 TCP-LISTEN:1,fork,reuseaddr EXEC:"echo ${answer}" >/dev/null 2>&1`;
      await host.run(make('before'));
      await succeeds(host, 'create url :7002 tail url reload@:1');
      const ask = async () => (await host.run('nc -N 127.0.0.1 7002 </dev/null', { check: false })).stdout;
      assert.is(await ask(), 'before\n');
      await synced(host);
      const generators = '/run/systemd/system-generators';
      await host.run(
        `mkdir -p ${generators}; rm -f /run/generator-runs
         printf '#!/bin/sh\n: >/run/generator-runs; until [ -e /run/generator-ends ]; do sleep 0.1; done\n' >${generators}/slow; chmod +x ${generators}/slow`,
      );
      const reload = host.spawn('systemctl daemon-reload');
      await host.run('until [ -e /run/generator-runs ]; do sleep 0.1; done');
      await host.run(`ip netns pids reload | xargs kill; ip netns del reload; ${make('after')}`);
      await host.run(': >/run/generator-ends');
      assert.is((await reload.exited).status, 0);
      await host.waitFor(async () => (await ask()) === 'after\n', {
        timeout: 20,
        what: 'the link to follow',
      });
      await host.run(
        `ip netns pids reload | xargs kill; ip netns del reload; rm -r ${generators} /run/generator-*`,
      );
      await succeeds(host, 'delete 7002');
    });

    test('a namespace that comes while files come and go all the time in /run is followed', async () => {
      const host = at();
      await host.run(`ip netns add red; ip -n red link set lo up`);
      await succeeds(host, 'create url :7002 tail url red@:1');
      // The directories of Podman are not there, so systemd watches /run for them.
      assert.is((await host.run('ls -d /run/crun /run/runc', { check: false })).stdout, '');
      await host.run(
        "systemd-run -q --collect --unit busy sh -c 'while :; do : >/run/busy; rm /run/busy; sleep 0.002; done'",
      );
      for (let n = 0; n < 3; n++) {
        await synced(host);
        await host.run(`ip netns del red; ip netns add red; ip -n red link set lo up
          systemctl reset-failed red 2>/dev/null; systemctl stop red 2>/dev/null
          systemd-run -q --collect --unit red -p NetworkNamespacePath=/run/netns/red socat -t 20 TCP-LISTEN:1,fork,reuseaddr EXEC:'echo red ${n}'`);
        await host.waitFor(
          async () =>
            (await host.run('nc -N 127.0.0.1 7002 </dev/null', { check: false })).stdout === `red ${n}\n`,
          { timeout: 30, what: `the link to follow its namespace, time ${n}` },
        );
      }
      await host.run('systemctl stop busy red; ip netns del red; rm -f /run/busy');
      await succeeds(host, 'delete 7002');
    });

    for (const { from, unit, make, remove } of [
      {
        from: (port: number) => `url :${port} docker-ns kept`,
        unit: 'wormhole-netns@kept.service',
        make: 'docker run -d --name kept --network none wormhole/tools sleep infinity',
        remove: 'docker rm -f kept',
      },
      {
        from: (port: number) => `url kept-ns@:${port}`,
        unit: 'wormhole-netns@netns:kept\\x2dns.service',
        make: 'ip netns add kept-ns; ip -n kept-ns link set lo up',
        remove: 'ip netns del kept-ns',
      },
    ]) {
      test(`the last link takes the namespace along, also when systemd does not: ${unit}`, async () => {
        const host = at();
        // As if systemd had missed the moment.
        const directory = `/run/systemd/system/${unit}.d`;
        await host.run(
          `mkdir -p '${directory}'; printf '[Unit]\\nStopWhenUnneeded=no\\n' >'${directory}/kept.conf'; systemctl daemon-reload; ${make}`,
        );
        for (const [number, id] of ['one', 'two', 'three'].entries())
          await succeeds(host, `create id ${id} ${from(7010 + number)} tail url :1`);
        const state = async () => (await host.run(`systemctl is-active '${unit}'`, { check: false })).stdout;
        await succeeds(host, 'delete one');
        assert.is(await state(), 'active\n');
        await succeeds(host, 'delete three two');
        assert.is(await state(), 'inactive\n');
        await host.run(`rm -r '${directory}'; systemctl daemon-reload; ${remove}`);
      });
    }

    test('a container that is gone is waited for, and the link says so', async () => {
      const host = at();
      await host.run('docker rm -f client');
      await keepsPromise(host, 'list to say so', async () =>
        (await succeeds(host, 'list')).includes('waiting for container client'),
      );
      await host.run(CLIENT);
      await answers(host);
    });

    test('a head whose port the new container takes itself listens again in the next one', async () => {
      const host = at();
      // The link does not follow before the container has the port.
      const services = ['wormhole-sync.service', 'wormhole-sync-again.service'];
      const directories = services.map((service) => `/run/systemd/system/${service}.d`).join(' ');
      await host.run(
        `for directory in ${directories}; do
           mkdir -p $directory; printf '[Service]\\nExecStartPre=sh -c "until test -e /run/client-listens; do sleep 0.1; done"\\n' >$directory/late.conf
         done
         systemctl daemon-reload`,
      );
      await host.waitFor(
        async () =>
          /^(dead|start-pre)\n\n(dead|start-pre)\n$/.test(
            (await host.run(`systemctl show -P SubState ${services.join(' ')}`)).stdout,
          ),
        { timeout: 60, what: 'what has begun to follow before to end' },
      );
      await host.run(
        'docker rm -f client && docker run -d --network none --name client wormhole/tools socat TCP-LISTEN:7000,fork,reuseaddr EXEC:cat',
      );
      await listens(host, 7000, { container: 'client' });
      await host.run('touch /run/client-listens');
      await host.waitFor(
        async () => /failed see journalctl -u wormhole-7000-client.socket/.test(await succeeds(host, 'list')),
        { what: 'the link to say that it failed' },
      );
      await host.run(`rm -r ${directories} /run/client-listens; systemctl daemon-reload`);
      await host.run('sleep 7; docker rm -f client; sleep 7');
      await host.run(CLIENT);
      await answers(host);
      assert.not.match(await succeeds(host, 'list'), /waiting|failed/);
    });

    test('a Docker that is stopped is not started by a link', async () => {
      const host = at();
      await host.run('systemctl stop docker; sleep 3; nc -N 127.0.0.1 7000 </dev/null', {
        check: false,
        timeout: 60,
      });
      assert.is((await host.run('systemctl is-active docker', { check: false })).stdout, 'inactive\n');
      await host.run('systemctl start docker', { timeout: 120 });
      await answers(host);
    });

    test('nothing of ours stays resident for it', async () => {
      const host = at();
      await host.waitFor(
        async () => (await host.run(`pgrep -f '[d]ist/wormhole.cjs' || true`)).stdout === '',
        {
          timeout: 60,
          what: 'wormhole-sync.service to end',
        },
      );
      assert.is(
        (await host.run('systemctl is-failed wormhole-sync.service', { check: false })).stdout,
        'inactive\n',
      );
    });

    test('what a link has joined is in its journal, in plain words', async () => {
      const host = at();
      const journal = await host.journal('-b', '-o', 'cat', '-u', 'wormhole-netns@client.service');
      assert.match(journal, /container client: joined its network namespace/);
      assert.match(journal, /no container "client".* Links to and from it wait/);
      const event = (name: string) => host.journal('-b', '-o', 'cat', `WORMHOLE_EVENT=${name}`);
      assert.match(await event('started'), /^container client: joined its network namespace/m);
      assert.match(await event('moved'), /^container "?client"? has changed: its links have joined/m);
      assert.match(await event('unreachable'), /no container "client"/);
    });

    test('deleting the links leaves nothing', async () => {
      const host = at();
      for (const { id } of JSON.parse(await succeeds(host, 'list --json')))
        await succeeds(host, `delete ${id}`);
      await leavesNothing(host);
    });
  },
);

/** Passes requests on to Docker, and fails those about a container while there is a file. */
const ENGINE_PROXY = `
import { existsSync, rmSync } from 'node:fs';
import http from 'node:http';
const socket = '/run/engine-proxy.sock';
rmSync(socket, { force: true });
http
  .createServer((request, answer) => {
    if (existsSync('/run/engine-is-broken') && /containers\\/[^/]+\\/json/.test(request.url)) {
      answer.writeHead(500, { 'Content-Type': 'application/json' }).end('{"message":"made by the test"}');
      return;
    }
    const { method, url: path, headers } = request;
    const passed = http.request({ socketPath: '/run/docker.sock', method, path, headers }, (from) => {
      answer.writeHead(from.statusCode, from.headers);
      answer.flushHeaders();
      from.pipe(answer);
    });
    request.pipe(passed);
  })
  .listen(socket);
`;

/** Waits until nothing compares links with their containers any more. */
async function synced(host: Host): Promise<void> {
  await host.waitFor(
    async () =>
      (
        await host.run(
          // One that has ended may have had the other one queued, which is not active yet.
          'systemctl show -P ActiveState wormhole-sync wormhole-sync-again; systemctl list-jobs --no-legend "wormhole-sync*"',
        )
      ).stdout === 'inactive\n\ninactive\n',
    { timeout: 60, what: 'wormhole-sync.service to end' },
  );
}

/** Both links answer within the promise, counted from when both containers run. */
async function answers(host: Host): Promise<void> {
  const both = () => host.run('docker ps -q --filter name=server --filter name=client | wc -l');
  await host.waitFor(async () => (await both()).stdout === '2\n', {
    timeout: 60,
    what: 'both containers to run',
  });
  const name = await host.container('server').inspect('{{.Config.Hostname}}');
  const ask = 'nc -N 127.0.0.1 7000 </dev/null';
  const fromHost = async () => (await host.run(ask, { check: false })).stdout === `${name}\n`;
  const fromClient = async () =>
    (await host.container('client').runInNetwork(ask, { check: false })).stdout === `${name}\n`;
  await keepsPromise(host, `the link from the host to reach ${name}`, fromHost);
  await keepsPromise(host, `the link from container client to reach ${name}`, fromClient);
}

/**
 * Waits for a condition, which has to be met within the promise. On a machine that is too busy for that, it has to be met
 * within what the same work takes when it is done by hand: a command of Wormhole and a restart of the namespace's unit,
 * which restarts the forwarders.
 */
async function keepsPromise(host: Host, what: string, condition: () => Promise<boolean>): Promise<void> {
  const seconds = async (work: () => Promise<unknown>) => {
    const began = performance.now();
    await work();
    return (performance.now() - began) / 1000;
  };
  const took = await seconds(() => host.waitFor(condition, { timeout: 60, what }));
  if (took <= PROMISE) return;
  const byHand = await seconds(async () => {
    await succeeds(host, 'list');
    await host.run('systemctl restart wormhole-netns@server.service');
    await host.waitFor(condition, { timeout: 60, what: `${what}, by hand` });
  });
  assert.ok(
    took <= PROMISE + SLACK * byHand,
    `waited ${took.toFixed(1)} s for ${what}; by hand that takes ${byHand.toFixed(1)} s`,
  );
}
