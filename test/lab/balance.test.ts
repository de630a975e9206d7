import * as assert from 'uvu/assert';
import type { Listing } from '../../src/api/listing-schema.ts';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import { listens } from './listening.ts';
import { hasNotedSessions } from './noted-sessions.ts';
import { hears } from './pair.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

const SESSION = new URL('balance-session.sh', import.meta.url).pathname;
const CLIENTS = new URL('balance-clients.mjs', import.meta.url).pathname;

/** A server in a container without a network, which says the name of that. */
const server = (name: string): string =>
  `docker run -d --network none --name ${name} --hostname ${name} wormhole/tools socat TCP-LISTEN:80,fork,reuseaddr SYSTEM:"uname -n"`;

/** A web server in a container without a network, which says the name of that after a few ms. */
const web = (name: string): string =>
  `docker run -d --network none --name ${name} --hostname ${name} wormhole/tools socat -t 5 TCP-LISTEN:8000,fork,reuseaddr,backlog=256 SYSTEM:"read x; uname -n"`;

/**
 * What clients have got: answers of each server; those that ended without one, and those that were not even connected. `written`
 * counts these figures.
 */
interface Served {
  answers: Record<string, number>;
  total: number;
  failed: number;
  refused: number;
  written: number;
}

const NOBODY: Served = { answers: {}, total: 0, failed: 0, refused: 0, written: 0 };

labSuite(
  'links with several tails',
  () => installedHost({ name: 'balance' }),
  (test, at) => {
    test('clients go to containers and to an address, each with its own forwarder', async () => {
      const host = at();
      for (const name of ['web1', 'web2']) {
        await host.run(server(name));
        await listens(host, 80, { container: name });
      }
      await host.run(
        "systemd-run --unit plain socat TCP-LISTEN:8080,bind=127.0.0.1,reuseaddr,fork EXEC:'echo plain'",
      );
      await listens(host, 8080);
      await succeeds(host, 'create url :80 tail docker-ns web1 or docker-ns web2 or url 127.0.0.1:8080');
      assert.equal(await answers(host, 80, 9), { web1: 3, web2: 3, plain: 3 });
      await host.waitFor(async () => (await openAt(host, 80)) === 0, {
        what: 'the last client to have gone',
      });
      const rows = await succeeds(host, 'list');
      assert.match(rows, /^80 +tcp:\/\/127\.0\.0\.1:80 +3 tails +connected/m);
      assert.match(
        rows,
        /^80-to-web1 +tail of 80 +tcp:\/\/127\.0\.0\.1:80 in container web1 +connected 0 open, 3 served/m,
      );
      assert.match(rows, /^80-to-127\.0\.0\.1-8080 +tail of 80 +tcp:\/\/127\.0\.0\.1:8080 /m);
    });

    test('only root reaches the sockets of the tails', async () => {
      const host = at();
      const { status } = await host.run(
        'setpriv --reuid=65534 --regid=65534 --clear-groups test -e /run/wormhole/hand-off/80/80-to-web1',
        { check: false },
      );
      assert.is(status, 1);
      assert.is((await host.run('stat -c %a /run/wormhole/hand-off')).stdout.trim(), '700');
    });

    test('a tail is drained, also across a reboot, and its sessions go on', async () => {
      const host = at();
      await fails(
        host,
        'drain 80 web9',
        /link "80" has no tail "web9"; it has web1, web2, 127\.0\.0\.1-8080/,
      );
      await fails(host, 'drain 80-to-web1 web1', /is a tail of link "80"/);
      await host.run(
        `docker run -d --network none --name echo wormhole/tools socat -t 20 TCP-LISTEN:7,fork,reuseaddr EXEC:cat`,
      );
      await listens(host, 7, { container: 'echo' });
      await succeeds(host, 'create id e url :7 tail docker-ns echo or url 127.0.0.1:9');
      await host.run(
        `systemd-run --unit session bash -c 'exec 3<>/dev/tcp/127.0.0.1/7; echo one >&3; read x <&3; echo $x; until test -e /run/go; do sleep 0.1; done; echo two >&3; read x <&3; echo $x'`,
      );
      await host.waitFor(async () => /1 open/.test(await succeeds(host, 'list')), {
        timeout: 10,
        what: 'the session to be open',
      });
      await succeeds(host, 'drain e echo');
      assert.match(await succeeds(host, 'list'), /^e-to-echo .* drained; /m);
      // No tail is left that serves.
      assert.is(await hears(host, 7), '');
      await host.run('touch /run/go');
      await host.waitFor(async () => /^two$/m.test((await host.run('journalctl -o cat -u session')).stdout), {
        timeout: 10,
        what: 'the session to go on',
      });
      await succeeds(host, 'undrain e 1');
      await succeeds(host, 'delete e');

      await succeeds(host, 'drain 80 2');
      assert.equal(await answers(host, 80, 4), { web1: 2, plain: 2 });
      await host.reboot();
      await host.run('docker start web1 web2');
      await host.waitFor(async () => (await hears(host, 80)) === 'web1\n', { what: 'web1 to be followed' });
      assert.equal(await answers(host, 80, 3), { web1: 3 });
      await fails(host, '-H unix:///run/wormhole.sock undrain 80 web9', /has no tail "web9"/);
      await succeeds(host, '-H unix:///run/wormhole.sock undrain 80 web2');
      // Nobody has asked for it since the boot.
      await host.waitFor(async () => (await hears(host, 80)) === 'web2\n', { what: 'web2 to be followed' });
      assert.equal(await answers(host, 80, 4), { web1: 2, web2: 2 });
    });

    test('64 clients without pause notice nothing of a tail that is killed, paused, removed and created again', async () => {
      const host = at();
      for (const name of ['one', 'two', 'three']) {
        await host.run(web(name));
        await listens(host, 8000, { container: name });
      }
      await succeeds(host, 'create id w url :8000 tail docker-ns one or docker-ns two or docker-ns three');
      await host.copyIn(CLIENTS, '/run');
      await host.run(
        'systemd-run --unit clients --collect node /run/balance-clients.mjs 8000 /run/clients.json',
      );
      const served = async () => JSON.parse((await host.run('cat /run/clients.json')).stdout) as Served;
      const until = (what: string, holds: (now: Served) => boolean) =>
        host.waitFor(async () => holds(await served().catch(() => NOBODY)), { timeout: 120, what });
      const moreOf = async (what: string, ...names: string[]) => {
        const before = await served();
        await until(`${what}: answers of ${names}`, (now) =>
          names.every((name) => (now.answers[name] ?? 0) > (before.answers[name] ?? 0) + 50),
        );
      };
      await until('answers of all', ({ answers }) => Object.keys(answers).length === 3);
      const openOf = async (name: string) =>
        Number(new RegExp(`^w-to-${name} .* (\\d+) open`, 'm').exec(await succeeds(host, 'list'))?.[1] ?? 0);
      const losses: Record<string, number> = {};
      const then = async (what: string, command: string, ...names: string[]) => {
        const before = (await served()).failed;
        await host.run(command);
        await moreOf(what, ...names);
        // A client of a container that has gone may hear of it later than others get answers.
        if (!names.includes('two'))
          await host.waitFor(async () => what === 'paused' || (await openOf('two')) === 0, {
            timeout: 60,
            what: `the sessions of the container that is ${what} to end`,
          });
        const { written } = await served();
        await until('figures that count all that has happened', (now) => now.written > written + 1);
        losses[what] = (await served()).failed - before;
      };
      await then('killed', 'docker kill two', 'one', 'three');
      await then('started again', 'docker start two', 'one', 'two', 'three');
      await then('paused', 'docker pause two', 'one', 'three');
      await then('unpaused', 'docker unpause two', 'one', 'two', 'three');
      await then('removed', 'docker rm -f two', 'one', 'three');
      await then('created again', web('two'), 'one', 'two', 'three');
      // It gets its share: about a third of what is served from now on.
      const before = await served();
      await until('1000 more answers', ({ total }) => total > before.total + 1000);
      const after = await served();
      const shares = ['one', 'two', 'three'].map(
        (name) => (after.answers[name] ?? 0) - (before.answers[name] ?? 0),
      );
      assert.ok(Math.min(...shares) > 0.15 * (after.total - before.total), `${shares}`);
      // Those fail that the container had accepted when it was killed, all of them after bytes went to it, and no other one.
      const { killed = 0, removed = 0, ...others } = losses;
      assert.equal(others, { 'started again': 0, paused: 0, unpaused: 0, 'created again': 0 });
      assert.ok(Math.max(killed, removed) <= 64, `${killed} and ${removed} failed`);
      assert.is(after.failed, killed + removed);
      assert.is(after.refused, 0);
      await host.run('systemctl stop clients');
      await succeeds(host, 'delete w');
      await host.run('docker rm -f one two three');
    });

    test('of tails that are started on demand, only the one that is picked runs, and both sleep again', async () => {
      const host = at();
      const run =
        'trigger docker-run "--network none wormhole/tools socat -t 20 TCP-LISTEN:90,fork,reuseaddr EXEC:cat"';
      await succeeds(host, `create --balance first id d idle 3s url :90 ${run} or ${run}`);
      const states = async () =>
        (await succeeds(host, 'list')).match(/^d-to-\S+ .* (sleeping|connected)/gm) ?? [];
      assert.is((await states()).filter((row) => row.endsWith('sleeping')).length, 2);
      const session = host.spawn('nc 127.0.0.1 90');
      session.write('hello\n');
      await host.waitFor(() => session.stdout() === 'hello\n', { timeout: 60, what: 'the answer' });
      const running = "docker ps --format '{{.Names}}' | grep wormhole-d | sort";
      assert.is((await host.run(running)).stdout, 'wormhole-d-to-container\nwormhole-d-to-container-netns\n');
      await session.stop();
      await host.waitFor(
        async () => (await states()).filter((row) => row.endsWith('sleeping')).length === 2,
        {
          timeout: 60,
          what: 'all tails to sleep',
        },
      );
      await host.waitFor(async () => (await host.run(running, { check: false })).stdout === '', {
        timeout: 30,
        what: 'the container to stop',
      });
      await succeeds(host, 'delete d');
    });

    test('sessions outlive the front, and the forwarder of their tail', async () => {
      const host = at();
      await host.run('docker start echo');
      await listens(host, 7, { container: 'echo' });
      await succeeds(host, 'create id s url :17 tail url :7 docker-ns echo or url :7 docker-ns echo');
      await host.copyIn(SESSION, '/run');
      await host.run('systemd-run --unit long bash /run/balance-session.sh 17');
      const said = async () =>
        Number((await host.run('journalctl -o cat -u long | grep -c "^[0-9]*$"', { check: false })).stdout);
      const goesOn = async (what: string) => {
        const before = await said();
        await host.waitFor(async () => (await said()) > before + 5, { timeout: 20, what });
      };
      await goesOn('the session to begin');
      await hasNotedSessions(host, 's');
      await host.run('systemctl kill -s KILL wormhole-s.service');
      await goesOn('the session to go on without the front');
      await host.run('systemctl kill -s KILL wormhole-s-to-echo.service');
      await goesOn('the session to go on in a new forwarder');
      // It is counted again.
      for (let n = 0; n < 2; n++) await host.run('echo x | nc -N -w 60 127.0.0.1 17');
      await host.waitFor(async () => /^s .* 1 open/m.test(await succeeds(host, 'list')), {
        timeout: 10,
        what: 'the session to be counted',
      });
      await succeeds(host, 'upgrade');
      await goesOn('the session to outlive an upgrade');
      await succeeds(
        host,
        'create --replace id s url :17 tail url :7 docker-ns echo or url :9 docker-ns echo',
      );
      await goesOn('the session to outlive a change of the other tail');
      assert.match(await succeeds(host, 'list'), /^s-to-echo-2 .*:9 in container echo/m);
      await succeeds(host, 'stop s');
      assert.is((await host.run('nc -w 2 127.0.0.1 17', { check: false })).status, 1);
      await succeeds(host, 'start s');
      assert.is((await host.run('echo y | nc -N -w 60 127.0.0.1 17')).stdout, 'y\n');
      await succeeds(host, 'create --replace id s url :17 tail url :7 docker-ns echo');
      assert.is((await host.run('echo z | nc -N -w 60 127.0.0.1 17')).stdout, 'z\n');
      assert.not.match(await succeeds(host, 'list'), /s-to-/);
      await succeeds(host, 'delete s');
    });

    test('--check takes a tail out before a client meets it, and its container gets clients again', async () => {
      const host = at();
      for (const name of ['one', 'two']) {
        await host.run(web(name));
        await listens(host, 8000, { container: name });
      }
      await succeeds(
        host,
        'create --balance first --check 1s id c url :8000 tail docker-ns one or docker-ns two',
      );
      const ask = async () =>
        (await host.run('echo hello | nc -N -w 10 127.0.0.1 8000', { check: false })).stdout;
      const journal = () => host.journal('-u', 'wormhole-c.service');
      assert.is(await ask(), 'one\n');
      await host.run('docker stop -t 0 one');
      await host.waitFor(async () => /tail one: .*; new clients go to the others/.test(await journal()), {
        timeout: 20,
        what: 'the check to find out',
      });
      assert.is(await ask(), 'two\n');
      assert.not.match(await journal(), /does not serve/);
      await host.run('docker start one');
      await host.waitFor(async () => /tail one accepts again/.test(await journal()), {
        timeout: 20,
        what: 'the check to bring it back',
      });
      assert.is(await ask(), 'one\n');
      await succeeds(host, 'delete c');
      await host.run('docker rm -f one two');
    });

    test('what does not fit is refused, and nothing is left', async () => {
      const host = at();
      const refused: [string, RegExp, number?][] = [
        [
          'create --balance first url :80 tail url :81',
          /--balance "first" is for a link with several tails/,
          2,
        ],
        ['create --check 5s url :80 tail url :81', /--check is for a link with several tails/, 2],
        ['create url :80 tail url :81 or', /after "or" \(word 6\): a tail is missing/, 2],
        [
          'create --balance source url unix:///run/a.sock tail url :81 or url :82',
          /clients of \/run\/a.sock have no address/,
          2,
        ],
        ['create id t url :18 tail url :81 or docker-ns nothing', /nothing/],
        ['create url udp://:53 tail url :54 or url :55', /a udp head has one tail/, 2],
      ];
      for (const [command, reason, status] of refused) await fails(host, command, reason, status);
      await host.run('systemd-run --unit taken socat TCP-LISTEN:18,bind=127.0.0.1,fork EXEC:cat');
      await host.waitFor(async () => (await host.run('ss -ltn')).stdout.includes(':18 '), {
        timeout: 10,
        what: 'the port to be taken',
      });
      await fails(host, 'create id t url :18 tail url :81 or url :82', /is in use already/);
      assert.not.match(await succeeds(host, 'list'), /^t/m);
      assert.is((await host.run('ls /run/wormhole/hand-off')).stdout.trim(), '80');
    });

    test('deleting leaves nothing', async () => {
      const host = at();
      await succeeds(host, 'delete 80');
      await leavesNothing(host);
      assert.is((await host.run('ls /run/wormhole/hand-off')).stdout, '');
    });
  },
);

/** The sessions that the link at a port has open, as its own forwarder, the front, counts them. */
async function openAt(host: Host, port: number): Promise<number> {
  const links = JSON.parse(await succeeds(host, 'list --json')) as Listing['links'];
  return links.find(({ id }) => id === String(port))?.counters?.open ?? 0;
}

/**
 * How often each server answers, of that many clients one after the other. A client comes when all before it have gone also for the
 * forwarders, which hear of it later than the client: those that are still there count when a tail is chosen.
 */
async function answers(host: Host, port: number, count: number): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (let n = 0; n < count; n++) {
    await host.waitFor(async () => (await openAt(host, port)) === 0, {
      what: 'the former client to have gone',
    });
    const name = (await hears(host, port)).trim() || 'nobody';
    found[name] = (found[name] ?? 0) + 1;
  }
  return found;
}
