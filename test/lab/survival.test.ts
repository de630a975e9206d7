import * as assert from 'uvu/assert';
import type { ExchangeOptions, ExchangeResult } from './exchange.ts';
import { installedHost, succeeds } from './installed.ts';
import type { Host } from './rig/host.ts';
import type { Running } from './rig/shell.ts';
import { labSuite } from './suite.ts';

/** The name of the environment variable with the seed of a random test, which a failure prints. */
const SEED = 'WORMHOLE_TEST_SEED';

/** Starts sessions through the link and waits until they are old enough to survive. */
async function startExchange(host: Host, options: ExchangeOptions): Promise<Running> {
  const exchange = host.spawn(
    `cd /src/wormhole && exec node --import tsx test/lab/exchange.ts '${JSON.stringify(options)}'`,
  );
  await host.waitFor(() => exchange.stdout().includes('running'), {
    timeout: 60,
    what: 'the sessions to run',
  });
  return exchange;
}

/** Waits until all sessions have ended, and checks that each has had all its bytes. */
async function allArrive(exchange: Running, { sessions }: ExchangeOptions): Promise<ExchangeResult> {
  const { stdout, stderr } = await exchange.exited;
  assert.is(stderr, '');
  const result: ExchangeResult = JSON.parse(stdout.trim().split('\n').at(-1) as string);
  const { ok, ...wrong } = result.ends;
  assert.is(ok, 2 * sessions, `wrong ends: ${JSON.stringify(wrong)}`);
  return result;
}

/** A client that prints what it gets. It fails if the connection is reset. */
const CLIENT = `
  const socket = require('net').connect(process.argv[1], '127.0.0.1');
  process.stdin.pipe(socket).pipe(process.stdout);
  socket.on('error', ({ code }) => { console.error(code); process.exit(1); });`;

/** Connects a client through the link to a server that sends everything back. The link is created if there is none. */
async function connectEcho(host: Host, id: string): Promise<Running> {
  await host.run(
    `systemctl is-active -q echo || systemd-run -q --unit echo socat -t 60 TCP-LISTEN:4009,bind=127.0.0.1,fork,reuseaddr EXEC:cat
     wormhole list | grep -q '^${id} ' || wormhole create url :${id} tail url :4009`,
  );
  return host.spawn(['node', '-e', CLIENT, id]);
}

/** As connectEcho(), and waits until the session is stored. */
async function openEcho(host: Host, id: string): Promise<Running> {
  const session = await connectEcho(host, id);
  await host.waitFor(async () => (await storedCount(host, id)) > 0, { what: 'the session to be stored' });
  return session;
}

/** Sends a line, and waits until it has come back. */
async function says(host: Host, session: Running, line: string): Promise<void> {
  session.write(`${line}\n`);
  await host.waitFor(() => session.stdout().endsWith(`${line}\n`), { what: `the answer to "${line}"` });
}

/** Waits until a session has ended, and checks that it was reset. */
async function isReset(session: Running): Promise<void> {
  const { stderr, status } = await session.exited;
  assert.match(stderr, /ECONNRESET/, `exit status ${status}: ${stderr}`);
}

/** How many descriptors systemd keeps for the forwarder of a link. */
async function storedCount(host: Host, id: string): Promise<number> {
  return Number(await property(host, id, 'NFileDescriptorStore'));
}

async function mainPid(host: Host, id: string): Promise<number> {
  return Number(await property(host, id, 'MainPID'));
}

async function property(host: Host, id: string, name: string): Promise<string> {
  const { stdout } = await host.run(['systemctl', 'show', '-P', name, `wormhole-${id}.service`]);
  return stdout.trim();
}

function journal(host: Host, id: string): Promise<string> {
  return host.journal('-o', 'cat', '-u', `wormhole-${id}.service`);
}

/** The open connections of a port, as ss prints them. */
async function socketsOf(host: Host, port: number): Promise<string> {
  return (await host.run(`ss -Htn state connected exclude time-wait sport = :${port}`)).stdout;
}

labSuite(
  'sessions outlive the forwarder',
  () => installedHost({ name: 'survival', docker: false }),
  (test, at) => {
    test('restarted and killed in the middle of 40 MB both ways, it goes on, byte for byte', async () => {
      const host = at();
      await succeeds(host, 'create url :3000 tail url :4000');
      const options = { listen: 4000, link: 3000, sessions: 2, seed: 1, seconds: 6, bytes: 40e6, held: true };
      const exchange = await startExchange(host, options);
      const takeovers = async () =>
        (await host.journal('-o', 'cat', '-u', 'wormhole-3000.service')).match(/took over 2 open sessions/g)
          ?.length ?? 0;
      for (const [number, command] of ['restart', 'kill -s KILL', 'restart', 'kill -s KILL'].entries()) {
        await host.run(`sleep 0.5; systemctl ${command} wormhole-3000.service`);
        await host.waitFor(async () => (await takeovers()) === number + 1, {
          what: `the sessions to be taken over, time ${number + 1}`,
        });
      }
      exchange.end();
      await allArrive(exchange, options);
      assert.is(await takeovers(), 4);
    });

    test('200 sessions of all kinds survive 100 kills at random moments', async () => {
      const host = at();
      const seed = Number(process.env[SEED] ?? Date.now() % 100_000);
      const options = { listen: 4001, link: 3001, sessions: 200, seed, seconds: 55, bytes: 3e6, held: true };
      await succeeds(host, 'create url :3001 tail url :4001');
      const exchange = await startExchange(host, options);
      // One that dies again and again while it takes over gives the sessions up. So most live for a while.
      const kills = `RANDOM=${seed}; for i in $(seq 100); do
        [ $((i % 5)) = 0 ] || until systemctl is-active -q wormhole-3001.service; do sleep 0.02; done
        sleep $(printf 0.%03d $((RANDOM % 500)))
        systemctl kill -s KILL wormhole-3001.service
      done`;
      await host.run(kills, { timeout: 600 });
      exchange.end();
      const { longestPause } = await allArrive(exchange, options).catch((error) => {
        throw new Error(`${SEED}=${seed}: ${error.message}`);
      });
      process.stdout.write(`longest time without a byte of any session: ${longestPause} ms `);
      const journal = await host.journal('-o', 'cat', '-u', 'wormhole-3001.service');
      assert.ok((journal.match(/took over \d+ open session/g)?.length ?? 0) > 30, journal);
    });

    test('an upgrade restarts the forwarder, and sessions go on, twice', async () => {
      const host = at();
      const options = { listen: 4002, link: 3002, sessions: 8, seed: 2, seconds: 15, bytes: 2e6, held: true };
      await succeeds(host, 'create url :3002 tail url :4002');
      const exchange = await startExchange(host, options);
      const before = await mainPid(host, '3002');
      await host.run('/src/wormhole/install.sh', { timeout: 120 });
      const between = await mainPid(host, '3002');
      await host.run('/src/wormhole/install.sh', { timeout: 120 });
      assert.is(new Set([before, between, await mainPid(host, '3002')]).size, 3);
      exchange.end();
      await allArrive(exchange, options);
    });

    test('a session also outlives the watchdog, SIGABRT, SIGSEGV and systemctl daemon-reexec', async () => {
      const host = at();
      const session = await openEcho(host, '3003');
      await says(host, session, 'before');
      for (const [end, command] of [
        ['watchdog', 'systemctl kill -s STOP --kill-who=main wormhole-3003.service'],
        ['abort', 'systemctl kill -s ABRT --kill-who=main wormhole-3003.service'],
        ['crash', 'systemctl kill -s SEGV --kill-who=main wormhole-3003.service'],
        ['reexec', 'systemctl daemon-reexec; systemctl kill -s KILL wormhole-3003.service'],
        ['restart of the socket', 'systemctl restart wormhole-3003.socket'],
      ] as const) {
        const pid = await mainPid(host, '3003');
        await host.run(command);
        await host.waitFor(async () => (await mainPid(host, '3003')) !== pid, { what: `the end by ${end}` });
        await says(host, session, `after ${end}`);
      }
      session.end();
      const { status } = await session.exited;
      assert.is(status, 0);
    });

    test('nothing stays in the store once a session has ended', async () => {
      const host = at();
      const session = await openEcho(host, '3004');
      session.end();
      await session.exited;
      await host.waitFor(async () => (await storedCount(host, '3004')) === 0, {
        what: 'the store to be empty',
      });
      assert.is(await socketsOf(host, 3004), '');
      await host.run('systemctl kill -s KILL wormhole-3004.service');
      const next = await openEcho(host, '3004');
      await says(host, next, 'next');
      next.end();
      await next.exited;
    });

    for (const [command, id] of [
      ['stop', '3005'],
      ['delete', '3006'],
    ] as const) {
      test(`wormhole ${command} resets the sessions`, async () => {
        const host = at();
        const session = await openEcho(host, id);
        await says(host, session, 'before');
        await succeeds(host, `${command} ${id}`);
        await isReset(session);
        assert.is(await socketsOf(host, Number(id)), '');
      });
    }

    test('without a store, or if it is full, a killed forwarder resets its sessions, and says so before', async () => {
      const host = at();
      const dropIn = (id: string, text: string): Promise<unknown> =>
        host.run(`mkdir -p /etc/systemd/system/wormhole-${id}.service.d
          printf '[Service]\n${text}\n' > /etc/systemd/system/wormhole-${id}.service.d/store.conf
          systemctl daemon-reload`);
      await succeeds(host, 'create url :3007 tail url :4009');
      await dropIn('3007', 'FileDescriptorStoreMax=0');
      await succeeds(host, 'create url :3008 tail url :4009');
      await dropIn('3008', 'Environment=FDSTORE=0');
      const keepsNone = /systemd does not keep the sessions \(FileDescriptorStoreMax=/;
      for (const id of ['3007', '3008']) {
        const session = await connectEcho(host, id);
        await says(host, session, 'before');
        // The second one knows of no store, so it has nothing to say.
        if (id === '3007')
          await host.waitFor(async () => keepsNone.test(await journal(host, id)), {
            what: 'the line that says so',
          });
        else await host.run('sleep 1.5');
        assert.is(await storedCount(host, id), 0);
        await says(host, session, 'still');
        await host.run(`systemctl kill -s KILL wormhole-${id}.service`);
        await isReset(session);
      }
    });

    test('a store that takes one snapshot only: a session continues or is reset', async () => {
      const host = at();
      await succeeds(host, 'create url :3009 tail url :4009');
      await host.run(`mkdir -p /etc/systemd/system/wormhole-3009.service.d
        printf '[Service]\nFileDescriptorStoreMax=1\n' > /etc/systemd/system/wormhole-3009.service.d/store.conf
        systemctl daemon-reload`);
      const stored = await connectEcho(host, '3009');
      await says(host, stored, 'first');
      await host.waitFor(async () => (await storedCount(host, '3009')) === 1, { what: 'a snapshot' });
      const refused = await connectEcho(host, '3009');
      await says(host, refused, 'second');
      await host.run('sleep 1.5; systemctl kill -s KILL wormhole-3009.service');
      await isReset(refused);
      await says(host, stored, 'first again');
      stored.end();
      assert.is((await stored.exited).status, 0);
    });
  },
);
