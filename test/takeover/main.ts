import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { installedHost, succeeds } from '../lab/installed.ts';
import type { Host } from '../lab/rig/host.ts';
import { parseOptions } from '../options.ts';

/*
 * npm run takeover -- [--rounds N]
 *
 * On a host with systemd: how long sessions pause when their forwarder is killed, for several numbers of them; and what it costs
 * PID 1 and the forwarder that sessions are stored, for connections that last 1.5 s and for short ones, with few and with many sessions open
 * beside them, each next to the same with a unit that stores nothing. What was measured is written to test/takeover/results.
 */

const { values } = parseOptions('takeover', { options: { rounds: { type: 'string', default: '7' } } });
const rounds = Number(values.rounds);
if (!Number.isSafeInteger(rounds) || rounds < 1) {
  console.error(`npm run takeover: --rounds "${values.rounds}": it takes a whole number above 0`);
  process.exit(2);
}

const CLIENTS = fileURLToPath(new URL('clients.mjs', import.meta.url));

/** Numbers of sessions that are open when the forwarder is killed. The limit of descriptors of a test machine may be 20,000. */
const CROWDS = [1, 200, 1000, 3000];

/** Numbers of sessions that stay open while connections come and go. */
const IDLE = [0, 3000];

const LONG_CONNECTIONS = 1000;
const SHORT_CONNECTIONS = 20_000;

/** The links: one whose sessions are stored, as they are by default, and one that stores nothing. */
const LINKS = { stored: 3000, unstored: 3001 } as const;
type Link = keyof typeof LINKS;

/** Microseconds of processor time for each connection. */
interface Cost {
  managerMicros: number;
  forwarderMicros: number;
  seconds: number;
}

/** What several rounds came to. */
interface Spread {
  median: number;
  lowest: number;
  highest: number;
}

const spread = (values: number[]): Spread => {
  const sorted = values.toSorted((a, b) => a - b);
  const [lowest = 0, highest = 0] = [sorted[0], sorted.at(-1)];
  return { median: sorted[Math.floor(sorted.length / 2)] ?? 0, lowest, highest };
};

const host = await installedHost({ name: 'takeover', docker: false });
try {
  await host.copyIn(CLIENTS, '/run');
  await host.run(
    `cat >/run/echo.mjs <<'END'
import net from 'node:net';
net.createServer({ noDelay: true }, (socket) => socket.on('error', () => {}).pipe(socket)).listen({ port: 4000, host: '127.0.0.1', backlog: 4096 });
END
     systemd-run -q --unit echo-server -p LimitNOFILE=20000 node /run/echo.mjs`,
  );
  for (const [id, port] of Object.entries(LINKS))
    await succeeds(host, `create --idle 2h id ${id} url :${port} tail url :4000`);
  await host.run(
    `mkdir -p /etc/systemd/system/wormhole-unstored.service.d
     printf '[Service]\\nFileDescriptorStoreMax=0\\nEnvironment=FDSTORE=0\\n' >/etc/systemd/system/wormhole-unstored.service.d/none.conf
     systemctl daemon-reload`,
  );
  const pauses: Record<number, { first: Spread; last: Spread }> = {};
  for (const sessions of CROWDS) {
    const { pauses: found } = await run<{ pauses: [number, number][] }>(host, 'stored', {
      ...{ load: 'kill', sessions, rounds },
    });
    pauses[sessions] = {
      first: spread(found.map(([first]) => first)),
      last: spread(found.map(([, last]) => last)),
    };
    console.log(`${sessions} sessions pause, ms: ${JSON.stringify(pauses[sessions])}`);
  }
  const costs: unknown[] = [];
  for (const [load, connections] of [
    ['long', LONG_CONNECTIONS],
    ['short', SHORT_CONNECTIONS],
  ] as const)
    for (const idle of IDLE) {
      const found: Record<Link, Cost[]> = { stored: [], unstored: [] };
      for (let round = 0; round < rounds; round++)
        for (const link of round % 2 ? (['stored', 'unstored'] as const) : (['unstored', 'stored'] as const))
          found[link].push(await run<Cost>(host, link, { load, connections, idle }));
      const row = {
        ...{ load, idle, connections },
        stored: summary(found.stored, connections),
        unstored: summary(found.unstored, connections),
      };
      costs.push(row);
      console.log(JSON.stringify(row));
    }
  const results = fileURLToPath(new URL('results', import.meta.url));
  mkdirSync(results, { recursive: true });
  const report = { date: new Date().toISOString(), node: process.version, rounds, pauses, costs };
  writeFileSync(`${results}/takeover.json`, `${JSON.stringify(report, undefined, 1)}\n`);
} finally {
  await host.powerOff();
}

function summary(costs: Cost[], connections: number) {
  return {
    managerMicros: spread(costs.map(({ managerMicros }) => managerMicros)),
    forwarderMicros: spread(costs.map(({ forwarderMicros }) => forwarderMicros)),
    perSecond: spread(costs.map(({ seconds }) => connections / seconds)),
  };
}

async function run<T>(on: Host, link: Link, options: object): Promise<T> {
  const pidOf = `/sys/fs/cgroup/system.slice/wormhole-${link}.service/cgroup.procs`;
  const argument = JSON.stringify({ ...options, port: LINKS[link], pidOf });
  // The forwarder is awake, with a heap like that of one which has served before.
  await on.run(`echo | nc -N 127.0.0.1 ${LINKS[link]}`);
  const { stdout } = await on.run(`prlimit --nofile=20000 node /run/clients.mjs '${argument}'`, {
    timeout: 600,
  });
  return JSON.parse(stdout) as T;
}
