import * as assert from 'uvu/assert';
import type { Listing } from '../../src/api/listing-schema.js';
import type { ExchangeOptions, ExchangeResult } from './exchange.ts';
import { fails, installedHost, leavesNothing, succeeds } from './installed.ts';
import { hasNotedSessions } from './noted-sessions.ts';
import type { Host } from './rig/host.ts';
import { labSuite } from './suite.ts';

/* Links whose forwarders have several threads, in the sandbox of their units. */

/**
 * Runs sessions through a link, `meanwhile` after they have become old enough to survive, and checks every byte. All are open until
 * `meanwhile` has ended.
 */
async function exchange(
  host: Host,
  options: ExchangeOptions,
  meanwhile: () => Promise<unknown>,
): Promise<void> {
  const running = host.spawn(
    `cd /src/wormhole && exec node --import tsx test/lab/exchange.ts '${JSON.stringify({ ...options, held: true })}'`,
  );
  await host.waitFor(() => running.stdout().includes('running'), {
    timeout: 60,
    what: 'the sessions to run',
  });
  await meanwhile();
  running.end();
  const { stdout, stderr } = await running.exited;
  assert.is(stderr, '');
  const { ok, ...wrong }: ExchangeResult['ends'] = JSON.parse(
    stdout.trim().split('\n').at(-1) as string,
  ).ends;
  assert.is(ok, 2 * options.sessions, `wrong ends: ${JSON.stringify(wrong)}`);
}

async function property(host: Host, id: string, name: string): Promise<string> {
  return (await host.run(`systemctl show -P ${name} wormhole-${id}.service`)).stdout.trim();
}

/**
 * Waits until a forwarder has so many threads that relay: each has a file with notes about its sessions, and so has the first thread. One that
 * has just begun to listen may still start some.
 */
async function hasWorkers(host: Host, id: string, count: number): Promise<void> {
  const pid = await property(host, id, 'MainPID');
  const workers = async () =>
    Number((await host.run(`ls -l /proc/${pid}/fd | grep -c memfd:wormhole-sessions`)).stdout) - 1;
  await host
    .waitFor(async () => (await workers()) === count, { timeout: 10, what: `${count} workers of link ${id}` })
    .catch(async () => assert.is(await workers(), count));
}

/** Waits until a link has taken over all 60 sessions so many times. */
async function hasTakenOver(host: Host, id: string, times: number): Promise<void> {
  await host.waitFor(
    async () => ((await journal(host, id)).match(/took over 60 open sessions/g)?.length ?? 0) >= times,
    { what: `the sessions of link ${id} to be taken over, time ${times}` },
  );
}

function journal(host: Host, id: string): Promise<string> {
  return host.journal('-b', '-o', 'cat', '-u', `wormhole-${id}.service`);
}

async function counters(host: Host, id: string) {
  const links: Listing['links'] = JSON.parse(await succeeds(host, 'list --json'));
  const link = links.find((one) => one.id === id);
  assert.ok(link?.counters);
  return link.counters;
}

/** A server that says what it is told, and resets a client that says "reset". */
const SERVER = `require('net').createServer((socket) => {
  socket.on('error', () => {}).on('data', (data) => String(data) === 'reset' ? socket.resetAndDestroy() : socket.write(data));
}).listen(7001, '127.0.0.1')`;

/** 12 clients, each of which is answered, is then reset by the target, and prints how it has ended. */
const RESET_CLIENTS = `let left = 12; const ends = [];
for (let n = 0; n < 12; n++) {
  const socket = require('net').connect(7000, '127.0.0.1', () => socket.write('hello'));
  socket.once('data', () => socket.write('reset'));
  socket.on('error', ({ code }) => ends.push(code)).on('end', () => ends.push('end'));
  socket.on('close', () => { if (--left === 0) console.log([...new Set(ends)].join()); });
}`;

/** Eight clients. Prints how many are answered and how many are refused, when these are as many as it is told, and half a second later. */
const EIGHT = `let answered = 0, refused = 0;
const count = () => { if (answered + refused === Number(process.argv[1]))
  setTimeout(() => { console.log(answered, refused); process.exit(); }, 500); };
for (let n = 0; n < 8; n++) {
  const socket = require('net').connect(7002, '127.0.0.1', () => socket.write('hello'));
  socket.on('data', () => { answered++; count(); }).on('error', () => { refused++; count(); });
}`;

labSuite(
  'threads that relay',
  () => installedHost({ name: 'workers', docker: false }),
  (test, at) => {
    test('sessions of four workers go on after kill -9 and a restart, byte for byte, and others after an upgrade to fewer', async () => {
      const host = at();
      await succeeds(host, 'create --workers 4 id many url :3000 tail url :4000');
      const options = { listen: 4000, link: 3000, sessions: 60, seed: 1, seconds: 12, bytes: 2e6 };
      await exchange(host, options, async () => {
        await hasWorkers(host, 'many', 4);
        await hasNotedSessions(host, 'many', 60);
        await host.run('systemctl kill -s KILL wormhole-many.service');
        await hasTakenOver(host, 'many', 1);
        await host.run('systemctl restart wormhole-many.service');
        await hasTakenOver(host, 'many', 2);
        await hasWorkers(host, 'many', 4);
        await succeeds(host, 'create --replace --workers 2 id many url :3000 tail url :4000');
        await host.run('systemctl restart wormhole-many.service');
        await hasWorkers(host, 'many', 2);
        await hasNotedSessions(host, 'many', 60);
        await succeeds(host, 'create --replace id many url :3000 tail url :4000');
        await host.run('systemctl kill -s KILL wormhole-many.service');
      });
      const lines = await journal(host, 'many');
      assert.ok((lines.match(/took over 60 open sessions/g)?.length ?? 0) >= 3, lines);
      assert.match(lines, /stopped by SIGTERM; 60 open sessions continue if it is started again/);
      assert.not.match(lines, /cannot|lost|reset [1-9]/);
    });

    test('figures are those that the clients count, resets arrive, and the link falls asleep', async () => {
      const host = at();
      await host.run(
        `systemd-run -q --unit sink socat -t 60 TCP-LISTEN:6010,bind=127.0.0.1,fork,reuseaddr,backlog=100 SYSTEM:'wc -c; head -c 123456 /dev/zero'
         systemd-run -q --unit server node -e "${SERVER.replaceAll('\n', ' ')}"`,
      );
      await succeeds(host, 'create --workers 4 --idle 3s id exact url :5210 tail url :6010');
      await succeeds(host, 'create --workers 4 id resets url :7000 tail url :7001');
      const { stdout } = await host.run(
        `for i in $(seq 40); do (head -c $((i * 10007)) /dev/zero | nc -N 127.0.0.1 5210 | tr -d '\\000') & done; wait`,
      );
      const sent = Array.from({ length: 40 }, (_, n) => (n + 1) * 10_007);
      const heard = stdout.trim().split('\n').map(Number);
      assert.equal(
        heard.sort((a, b) => a - b),
        sent,
      );
      const sum = sent.reduce((all, size) => all + size, 0);
      const answers = sent.reduce((all, size) => all + `${size}\n`.length + 123_456, 0);
      await host.waitFor(async () => (await counters(host, 'exact')).open === 0, {
        what: 'all sessions to end',
      });
      const counted = await counters(host, 'exact');
      assert.equal(
        [counted.served, counted.bytesFromClients, counted.resetsByClient, counted.resetsByTarget],
        [40, sum, 0, 0],
      );
      assert.is(counted.bytesFromTarget, answers);
      assert.is((await host.run(['node', '-e', RESET_CLIENTS])).stdout, 'ECONNRESET\n');
      await host.waitFor(async () => (await counters(host, 'resets')).resetsByTarget === 12, {
        what: 'all resets to be counted',
      });
      await host.waitFor(async () => (await property(host, 'exact', 'ActiveState')) === 'inactive', {
        what: 'the link to fall asleep',
      });
      assert.is((await counters(host, 'exact')).served, 40);
      assert.is(await journal(host, 'exact').then((lines) => /idle for|fail|error/i.test(lines)), false);
    });

    test('limits hold over all threads', async () => {
      const host = at();
      await succeeds(host, 'create --workers 4 --max-connections 5 id full url :7002 tail url :7001');
      assert.is((await host.run(['node', '-e', EIGHT, '5'])).stdout, '5 0\n');
      await succeeds(
        host,
        'create --replace --workers 4 --max-per-source 3 id full url :7002 tail url :7001',
      );
      await host.waitFor(async () => (await counters(host, 'full')).open === 0, {
        what: 'the places to be free',
      });
      assert.is((await host.run(['node', '-e', EIGHT, '8'])).stdout, '3 5\n');
      await host.waitFor(async () => (await counters(host, 'full')).open === 0, {
        what: 'the places to be free',
      });
      assert.is((await host.run(['node', '-e', EIGHT, '8'])).stdout, '3 5\n');
    });

    test('of a link with several tails, the forwarders of the tails have threads', async () => {
      const host = at();
      await succeeds(
        host,
        'create --workers 3 --balance first --max-per-source 30 id spread url :3006 tail url :4006 or url :7001',
      );
      const listed: Listing['links'] = JSON.parse(await succeeds(host, 'list --json'));
      const tail =
        listed.find(({ tailOf, tail }) => tailOf === 'spread' && tail.url.endsWith(':4006'))?.id ?? '';
      const options = { listen: 4006, link: 3006, sessions: 30, seed: 4, seconds: 7, bytes: 1e6 };
      await exchange(host, options, async () => {
        await hasWorkers(host, tail, 3);
        await hasNotedSessions(host, 'spread', 30);
        assert.is((await host.run('nc -w 2 127.0.0.1 3006 < /dev/null; true')).stdout, '');
        await host.run(`systemctl kill -s KILL wormhole-${tail}.service; sleep 1`);
        await host.run('systemctl kill -s KILL wormhole-spread.service');
      });
      assert.match(await journal(host, tail), /took over 30 open sessions/);
      const { served, refused, open } = await counters(host, 'spread');
      assert.ok(served >= 30 && refused >= 1, `${served} served, ${refused} refused`);
      assert.is(open, 0);
      assert.is(await property(host, 'spread', 'NRestarts'), '1');
      await succeeds(host, 'delete spread');
    });

    test('auto takes a thread for each processor that the control group allows', async () => {
      const host = at();
      await succeeds(host, 'create --workers auto id auto url :7003 tail url :7001');
      const hello = 'printf hello | nc -N 127.0.0.1 7003';
      assert.is((await host.run(hello)).stdout, 'hello');
      const processors = Number((await host.run('nproc')).stdout);
      await hasWorkers(host, 'auto', processors);
      const hasQuotas = (await host.run('cat /sys/fs/cgroup/cgroup.controllers', { check: false })).stdout
        .split(/\s/)
        .includes('cpu');
      // Without the controller of cgroup v2, systemd ignores a quota.
      for (const limit of ['CPUAffinity=0', ...(hasQuotas ? ['CPUQuota=100%'] : [])]) {
        await host.run(
          `mkdir -p /run/systemd/system/wormhole-auto.service.d
           printf '[Service]\\n${limit.replace('%', '%%')}\\n' >/run/systemd/system/wormhole-auto.service.d/limit.conf
           systemctl daemon-reload; systemctl restart wormhole-auto.service`,
        );
        assert.is((await host.run(hello)).stdout, 'hello', limit);
        await hasWorkers(host, 'auto', 1);
      }
      await host.run('rm -r /run/systemd/system/wormhole-auto.service.d; systemctl daemon-reload');
    });

    test('the option is kept, shown, and refused where it makes no sense', async () => {
      const host = at();
      assert.match(await succeeds(host, 'export full'), /^Workers=4$/m);
      assert.match((await host.run('EDITOR=cat wormhole edit full 2>/dev/null')).stdout, /^--workers 4$/m);
      assert.is(
        JSON.parse(await succeeds(host, 'list --json')).find(({ id }: { id: string }) => id === 'auto')
          .options?.workers,
        'auto',
      );
      for (const wrong of ['0', '-1', '65', '1000', 'many', '1.5']) {
        await fails(
          host,
          `create --workers=${wrong} url :7009 tail url :7001`,
          new RegExp(`--workers "${wrong}": expected auto or a number from 1 to 64`),
          2,
        );
      }
      await fails(
        host,
        'create --workers 2 url udp://:7009 tail url udp://:7001',
        /--workers "2" is for a head of tcp:\/\/ or unix:\/\/, and the link has none/,
        2,
      );
      await host.run(
        `mkdir -p /etc/wormhole/links.d; printf '[Link]\\nRecipe=url :7010 tail url :7001\\nWorkers=2\\n' > /etc/wormhole/links.d/declared.wormhole`,
      );
      await host.run('wormhole apply');
      assert.match((await host.run('systemctl cat wormhole-declared.service')).stdout, / --workers 2$/m);
      await host.run('rm /etc/wormhole/links.d/declared.wormhole');
      await host.run('wormhole apply --prune');
      await succeeds(host, 'delete many exact resets full auto');
      await leavesNothing(host);
    });
  },
);
