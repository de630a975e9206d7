import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { programs } from '../programs.ts';
import { listenRaw, play } from '../unit/forwarder-fidelity-run.ts';
import { createScript } from '../unit/forwarder-fidelity-script.ts';
import { BULK_BYTES, BULK_PATH, cpu, loads, namedLoads } from './loads.ts';
import {
  build,
  cpuSeconds,
  listening,
  missing,
  type Relay,
  relays,
  start,
  startNginx,
  stopAll,
} from './relays.ts';
import { addSamples, type Column, type Results, type Row, tableOf } from './report.ts';
import { writeResults } from './results.ts';
import { BESIDE_UNITS, type Ports, processOf, runBesideUnits, unitRelays } from './units.ts';

/* The part of the benchmark about connections. */

/** What this part is told. */
export interface StreamOptions {
  readonly rounds: number;
  /** The duration of a load, seconds. */
  readonly seconds: number;
  /** How many random scripts are played. */
  readonly scripts: number;
  /** The names of the relays to compare, or none for all; and other builds of the forwarder. */
  readonly only: readonly string[];
  readonly builds: readonly { name: string; path: string }[];
  /** Parts of the titles of the columns to measure, or none for all. */
  readonly loads: readonly string[];
  /** Values of --workers of the forwarder to compare. */
  readonly workers: readonly string[];
  /** Whether to boot a host where systemd runs the forwarder as well. */
  readonly besideUnits: boolean;
  /** The options of the command line. */
  readonly args: readonly string[];
  /** A directory that all users can read. */
  readonly directory: string;
}

interface Contestant {
  readonly row: Row;
  readonly ports: Ports;
  /** The processes that serve two of the ports. */
  readonly pids: { readonly http?: number | undefined; readonly iperf3?: number | undefined };
  /** How it is started by the first connection; undefined if it cannot be. */
  readonly wake?: Relay['wake'];
}

const FIRST_PORT = 17800;
const targets: Ports = { iperf3: FIRST_PORT, http: FIRST_PORT + 1, scripts: FIRST_PORT + 2 };

/** Scripts played at the same time, and how long one of their steps may take, ms. */
const SCRIPTS_AT_ONCE = 300;
const STEP_TIMEOUT_MS = 3000;

const tools: Relay['needs'] = [
  ['/usr/bin/iperf3', 'iperf3'],
  ['/usr/bin/wrk', 'wrk'],
  ['/usr/sbin/nginx', 'nginx'],
  ['/usr/bin/curl', 'curl'],
];

const wakeColumn: Column = { title: 'first byte from sleep ms', better: 'less', digits: 0 };

/** What this part needs of Debian, and what is missing. */
export function missingForStreams(): string[] {
  return [...missing(tools), ...relays.flatMap((relay) => missing(relay.needs))];
}

/** Measures, prints the table, and writes the results. */
export async function benchStreams(options: StreamOptions): Promise<void> {
  const { rounds, seconds, besideUnits, directory } = options;
  const isInside = process.env[BESIDE_UNITS] !== undefined;
  if (missing(tools).length > 0) throw new Error(`missing: ${missing(tools).join(' ')}`);
  if (besideUnits && !isInside) {
    const status = await runBesideUnits(targets, ['tcp', ...options.args]);
    if (status !== 0) process.exit(status);
    return;
  }
  const isChosen = ({ title }: Column): boolean =>
    options.loads.length === 0 || options.loads.some((part) => title.includes(part));
  const all = options.loads.length === 0 ? loads : [...loads, ...namedLoads];
  const chosen = all.filter(({ columns }) => columns.some(isChosen));
  const scripts = Array.from({ length: options.scripts }, (_, i) => createScript(i + 1));
  const fidelity: Column = { title: `fidelity of ${scripts.length}`, better: 'more', digits: 0 };
  const { fd: listener } = listenRaw(targets.scripts);
  await startTargets(directory);
  const contestants = await startAll(options);
  const results: Results = {
    part: besideUnits ? 'tcp-units' : options.workers.length > 0 ? 'tcp-workers' : 'tcp',
    columns: [
      ...chosen.flatMap(({ columns }) => columns),
      ...(isChosen(wakeColumn) ? [wakeColumn] : []),
      ...(scripts.length > 0 ? [fidelity] : []),
    ],
    rows: contestants.map(({ row }) => row),
    reference: 'wormhole',
  };
  for (let round = 1; round <= rounds; round++) {
    console.log(`connections: round ${round} of ${rounds}`);
    for (const load of chosen) {
      for (const contestant of contestants) {
        const pid = contestant.pids[load.target];
        const before = pid === undefined ? 0 : cpuSeconds(pid);
        const { units, ...result } = await load.run(contestant.ports[load.target], seconds);
        if (units !== undefined && pid !== undefined)
          result[load.cpu?.title ?? cpu.title] =
            ((cpuSeconds(pid) - before) * (load.cpu?.scale ?? 1e6)) / units;
        addSamples(contestant.row, result);
      }
    }
    if (isChosen(wakeColumn)) {
      for (const { row, wake } of contestants)
        if (wake !== undefined) addSamples(row, { [wakeColumn.title]: await wake(targets.http) });
    }
    // What was measured is kept if the next round is cut off.
    writeResults(results);
  }
  if (scripts.length > 0) {
    console.log('random scripts');
    for (const { row, ports } of contestants)
      addSamples(row, { [fidelity.title]: countFaithful(scripts, ports.scripts, listener) });
    writeResults(results);
  }
  stopAll();
  console.log(
    '\nMedians, with the lowest and the highest of the rounds; in brackets how wormhole compares, above 1 it is ahead.\n',
  );
  console.log(tableOf(results));
}

async function startTargets(directory: string): Promise<void> {
  start('iperf3', ['-s', '-p', `${targets.iperf3}`]);
  writeFileSync(join(directory, BULK_PATH), Buffer.alloc(BULK_BYTES));
  startNginx(
    directory,
    targets.http,
    '',
    `http { access_log off; keepalive_requests 100000000; sendfile on; sendfile_max_chunk 128k; server { listen 127.0.0.1:${targets.http} ` +
      `backlog=4096; location / { return 200 "ok\\n"; } location = ${BULK_PATH} { root ${directory}; } } }`,
  );
  await listening(targets.http);
}

async function startAll({ only, builds, workers, directory }: StreamOptions): Promise<Contestant[]> {
  const all: Contestant[] = [{ row: { name: 'direct', samples: {} }, ports: targets, pids: {} }];
  const chosen = relays.filter(({ name }) => only.length === 0 || only.includes(name));
  const threads = workers.map((count) =>
    build(`wormhole --workers ${count}`, programs.forwarder, ['--workers', count]),
  );
  for (const relay of [...chosen, ...threads, ...builds.map(({ name, path }) => build(name, path))]) {
    if (missing(relay.needs).length > 0) continue;
    const [iperf3 = 0, http = 0, ours = 0] = [0, 1, 2].map((i) => FIRST_PORT + 3 * all.length + i);
    const bulk = await relay.start(iperf3, targets.iperf3, directory);
    const child = await relay.start(http, targets.http, directory);
    await relay.start(ours, targets.scripts, directory);
    await listening(http);
    await listening(iperf3);
    all.push({
      row: { name: relay.name, samples: {} },
      ports: { iperf3, http, scripts: ours },
      pids: { http: child.pid, iperf3: bulk.pid },
      wake: relay.wake,
    });
  }
  if (process.env[BESIDE_UNITS] !== undefined) {
    for (const { name, link, ports } of unitRelays) {
      await listening(ports.http);
      // The service starts with its first client.
      let pid = processOf(`${link}-http`);
      for (let i = 0; pid === undefined && i < 100; i++) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        pid = processOf(`${link}-http`);
      }
      all.push({ row: { name, samples: {} }, ports, pids: { http: pid } });
    }
  }
  return all;
}

function countFaithful(scripts: ReturnType<typeof createScript>[], port: number, listener: number): number {
  let troubles = 0;
  for (let at = 0; at < scripts.length; at += SCRIPTS_AT_ONCE) {
    troubles += play(scripts.slice(at, at + SCRIPTS_AT_ONCE), {
      port,
      listener,
      timeout: STEP_TIMEOUT_MS,
    }).length;
  }
  return scripts.length - troubles;
}
