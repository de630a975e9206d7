import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, openSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { programs } from '../programs.ts';
import { bind, datagramDescriptorOf } from '../unit/forwarder-launch.ts';
import { cpuSeconds, missing, start, startNginx } from './relays.ts';
import { addSamples, type Column, type Results, type Row, tableOf } from './report.ts';
import { writeResults } from './results.ts';
import type { Order, Report } from './udp-peers.ts';

/* The part of the benchmark about datagrams. */

/** What this part is told. */
export interface UdpOptions {
  readonly rounds: number;
  /** The duration of a load, seconds. */
  readonly seconds: number;
  /** The names of the relays to compare, or none for all; and other builds of the forwarder. */
  readonly only: readonly string[];
  readonly builds: readonly { name: string; path: string }[];
  /** A directory that all users can read. */
  readonly directory: string;
}

const FIRST_PORT = 17_900;

/** Clients that ask, each with so many questions on the way, in datagrams of so many bytes. */
const ASKING = [
  { clients: 1, window: 64, size: 64 },
  { clients: 1, window: 64, size: 1400 },
  { clients: 64, window: 4, size: 64 },
  { clients: 64, window: 4, size: 1400 },
  { clients: 1000, window: 1, size: 64 },
  { clients: 1000, window: 1, size: 1400 },
] as const;

/** What one client sends a second, answered or not, to see what is lost. */
const SENDING = [
  { rate: 50_000, size: 64 },
  { rate: 200_000, size: 64 },
  { rate: 50_000, size: 1400 },
  { rate: 100_000, size: 1400 },
] as const;

interface Contestant {
  readonly row: Row;
  /** Where it leads to the port that answers, and to the one that counts. */
  readonly answered: number;
  readonly counted: number;
  /** The process of the former; undefined for none. */
  readonly pid: number | undefined;
}

interface UdpRelay {
  readonly name: string;
  readonly needs: readonly [path: string, debianPackage: string][];
  start(port: number, target: number, directory: string): Promise<ChildProcess>;
}

const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so';
const DOCKER_PROXY = '/usr/sbin/docker-proxy';

/** Seconds after which the relays forget a client, where that can be set. */
const FORGET = 10;

function build(name: string, path: string): UdpRelay {
  return {
    name,
    needs: [],
    start: async (port, target) => {
      const head = await bind('127.0.0.1', port);
      const args = [
        path,
        '--link',
        'bench',
        '--to',
        `127.0.0.1:${target}`,
        '--idle',
        '0',
        '--udp-timeout',
        `${FORGET}`,
      ];
      const child = start(process.execPath, args, { listener: datagramDescriptorOf(head) });
      head.close();
      return child;
    },
  };
}

const relays: readonly UdpRelay[] = [
  build('wormhole', programs.forwarder),
  {
    name: 'nginx stream',
    needs: [
      ['/usr/sbin/nginx', 'nginx'],
      [STREAM_MODULE, 'libnginx-mod-stream'],
    ],
    start: async (port, target, directory) =>
      startNginx(
        directory,
        port,
        `load_module ${STREAM_MODULE};`,
        `stream { server { listen 127.0.0.1:${port} udp; proxy_timeout ${FORGET}s; proxy_pass 127.0.0.1:${target}; } }`,
      ),
  },
  {
    name: 'docker-proxy',
    needs: [],
    start: async (port, target) => {
      const args = ['-proto', 'udp', '-host-ip', '127.0.0.1', '-host-port', `${port}`];
      // It reports on descriptor 3 that it listens.
      return start(
        await dockerProxy(),
        [...args, '-container-ip', '127.0.0.1', '-container-port', `${target}`],
        {
          listener: openSync('/dev/null', 'w'),
        },
      );
    },
  },
  {
    name: 'socat',
    needs: [['/usr/bin/socat', 'socat']],
    start: async (port, target) =>
      start('/usr/bin/socat', [
        '-T',
        `${FORGET}`,
        `UDP-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr`,
        `UDP:127.0.0.1:${target}`,
      ]),
  },
];

/** The proxy of Docker: that of this machine, or of Debian's package, which is not installed for it. */
async function dockerProxy(): Promise<string> {
  if (existsSync(DOCKER_PROXY)) return DOCKER_PROXY;
  const cache =
    process.env.WORMHOLE_LAB_CACHE ??
    join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'wormhole-lab');
  const directory = join(cache, 'docker-proxy');
  const path = join(directory, DOCKER_PROXY);
  if (!existsSync(path)) {
    mkdirSync(directory, { recursive: true });
    console.log('unpacking docker-proxy of the Debian package docker.io');
    const script = `apt-get download -qq docker.io; dpkg-deb --fsys-tarfile docker.io_*.deb | tar -x .${DOCKER_PROXY}; rm docker.io_*.deb`;
    const child = spawn('sh', ['-euc', script], { cwd: directory, stdio: ['ignore', 'ignore', 'inherit'] });
    const [status] = await once(child, 'exit');
    if (status !== 0) throw new Error(`apt-get could not download docker.io, which has ${DOCKER_PROXY}`);
  }
  return path;
}

/** Measures, prints the table, and writes the results. */
export async function benchDatagrams(options: UdpOptions): Promise<void> {
  const server = await startPeer('server', `${FIRST_PORT}`);
  const clients = await startPeer('client');
  const contestants = await startAll(options);
  const columns = columnsOf();
  const results: Results = {
    part: 'udp',
    columns,
    rows: contestants.map(({ row }) => row),
    reference: 'wormhole',
  };
  for (let round = 1; round <= options.rounds; round++) {
    console.log(`datagrams: round ${round} of ${options.rounds}`);
    for (const load of ASKING)
      for (const contestant of contestants)
        addSamples(
          contestant.row,
          await measureAsking(clients, contestant, { ...load, seconds: options.seconds }),
        );
    for (const load of SENDING)
      for (const contestant of contestants)
        addSamples(contestant.row, await measureSending({ server, clients }, contestant, load));
    // What was measured is kept if the next round is cut off.
    writeResults(results);
  }
  for (const peer of [server, clients]) peer.kill();
  console.log(`\n${tableOf(results)}`);
}

async function startAll({ only, builds, directory }: UdpOptions): Promise<Contestant[]> {
  const answered = FIRST_PORT;
  const all: Contestant[] = [
    { row: { name: 'direct', samples: {} }, answered, counted: answered + 1, pid: undefined },
  ];
  const chosen = relays.filter(({ name }) => only.length === 0 || only.includes(name));
  for (const relay of [...chosen, ...builds.map(({ name, path }) => build(name, path))]) {
    if (missing(relay.needs).length > 0) continue;
    const port = FIRST_PORT + 2 * all.length;
    const { pid } = await relay.start(port, answered, directory);
    await relay.start(port + 1, answered + 1, directory);
    all.push({ row: { name: relay.name, samples: {} }, answered: port, counted: port + 1, pid });
  }
  return all;
}

function name({ clients, size }: { clients: number; size: number }): string {
  return `${clients === 1 ? '1 client' : `${clients.toLocaleString('en')} clients`}, ${size.toLocaleString('en')} B`;
}

function lossTitle({ rate, size }: { rate: number; size: number }): string {
  return `% lost of ${rate / 1000}k/s, ${size.toLocaleString('en')} B`;
}

function columnsOf(): Column[] {
  return [
    ...ASKING.flatMap((load): Column[] => [
      { title: `${name(load)}: datagrams/s`, better: 'more', digits: 0 },
      { title: `${name(load)}: CPU s per million`, better: 'less', digits: 2 },
      { title: `${name(load)}: % lost`, better: 'less', digits: 2 },
    ]),
    ...SENDING.map((load): Column => ({ title: lossTitle(load), better: 'less', digits: 2 })),
  ];
}

async function measureAsking(
  clients: ChildProcess,
  { answered, pid }: Contestant,
  load: { clients: number; window: number; size: number; seconds: number },
): Promise<Record<string, number>> {
  clients.send({ kind: 'ask', port: answered, rate: 0, ...load } satisfies Order);
  await once(clients, 'message');
  const before = pid === undefined ? 0 : cpuSeconds(pid);
  const [report]: Report[] = await once(clients, 'message');
  if (report === undefined) throw new Error('the clients have not reported');
  // The question and the answer both pass the relay.
  const passed = 2 * report.received;
  return {
    [`${name(load)}: datagrams/s`]: passed / report.seconds,
    [`${name(load)}: % lost`]: (100 * report.lost) / Math.max(1, report.sent),
    ...(pid !== undefined && {
      [`${name(load)}: CPU s per million`]: ((cpuSeconds(pid) - before) * 1e6) / Math.max(1, passed),
    }),
  };
}

async function measureSending(
  { server, clients }: { server: ChildProcess; clients: ChildProcess },
  { counted }: Contestant,
  load: { rate: number; size: number },
): Promise<Record<string, number>> {
  const before = await settledCount(server);
  clients.send({ kind: 'send', port: counted, clients: 1, window: 1, seconds: 1, ...load } satisfies Order);
  const [report]: Report[] = await once(clients, 'message');
  const sent = report?.sent ?? 0;
  return { [lossTitle(load)]: (100 * (sent - ((await settledCount(server)) - before))) / Math.max(1, sent) };
}

/** How many datagrams have arrived at the server that counts, once nothing more is on the way. */
async function settledCount(server: ChildProcess): Promise<number> {
  for (let last = -1, same = 0; ; ) {
    const counted = await count(server);
    same = counted === last ? same + 1 : 0;
    if (same === 2) return counted;
    last = counted;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function startPeer(...args: string[]): Promise<ChildProcess> {
  const program = fileURLToPath(new URL('udp-peers.ts', import.meta.url));
  const peer = fork(program, args, { execArgv: ['--import', 'tsx'] });
  process.on('exit', () => peer.kill());
  await once(peer, 'message');
  return peer;
}

async function count(server: ChildProcess): Promise<number> {
  server.send('count');
  const [counted] = await once(server, 'message');
  return counted;
}

/** What this part needs of Debian, beyond what is downloaded. */
export function missingForDatagrams(): string[] {
  return relays.flatMap(({ needs }) => missing(needs));
}
