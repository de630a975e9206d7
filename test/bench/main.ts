import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPrograms } from '../programs.ts';
import { listenRaw, play } from '../unit/forwarder-fidelity-run.ts';
import { createScript } from '../unit/forwarder-fidelity-script.ts';
import { BULK_BYTES, BULK_PATH, type Column, cpu, loads, type Result } from './loads.ts';
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
import { BESIDE_UNITS, type Ports, processOf, runBesideUnits, unitRelays } from './units.ts';

/*
 * Compares the forwarder with other relays on this machine: every round puts every load on every relay in turn, so
 * that what else the machine does hits all alike; the table shows medians. Nothing here asserts a time.
 */

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    scripts: { type: 'string', default: '600' },
    only: { type: 'string', default: '' },
    loads: { type: 'string', default: '' },
    compare: { type: 'string', multiple: true, default: [] },
    units: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(
    [
      '--rounds N          rounds (3)',
      '--seconds N         duration of a load (2)',
      '--scripts N         random scripts that have to end as on a direct connection (600)',
      '--only NAME,NAME    these relays only',
      '--loads TEXT,TEXT   only loads with a column whose title contains one of these',
      '--compare NAME=PATH another build of the forwarder too: the path of its forwarder.cjs; may be repeated',
      "--units             also as systemd runs it, with and without the unit's sandbox; as root, on the lab's Debian",
    ].join('\n'),
  );
  process.exit(0);
}

interface Contestant {
  name: string;
  ports: Ports;
  httpPid: number | undefined;
  results: Result[];
  /** How many of the scripts ended as on a direct connection. */
  faithful?: number;
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
const isBesideUnits = process.env[BESIDE_UNITS] !== undefined;
if (!isBesideUnits) {
  const absent = [...new Set([...missing(tools), ...relays.flatMap((relay) => missing(relay.needs))])];
  if (absent.length > 0)
    console.log(`Missing Debian packages; install them with: apt-get install -y ${absent.join(' ')}`);
  if (missing(tools).length > 0) process.exit(1);
  buildPrograms();
  if (values.units) process.exit(await runBesideUnits(targets, process.argv.slice(2)));
}
const directory = mkdtempSync(join(tmpdir(), 'wormhole-bench-'));
// nginx reads from it as another user.
chmodSync(directory, 0o755);
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const scripts = Array.from({ length: Number(values.scripts) }, (_, i) => createScript(i + 1));
const listener = listenRaw(targets.scripts).fd;
const chosen = loads.filter(
  ({ columns }) =>
    values.loads === '' ||
    columns.some(({ title }) => values.loads.split(',').some((part) => title.includes(part))),
);
const contestants = await startAll();
for (let round = 1; round <= Number(values.rounds); round++) {
  console.log(`round ${round} of ${values.rounds}`);
  for (const load of chosen) {
    for (const contestant of contestants) {
      const { httpPid } = contestant;
      const before = httpPid === undefined ? 0 : cpuSeconds(httpPid);
      const { requests, ...result } = await load.run(contestant.ports[load.target], Number(values.seconds));
      if (requests !== undefined && httpPid !== undefined) {
        result[cpu.title] = ((cpuSeconds(httpPid) - before) * 1e6) / requests;
      }
      contestant.results.push(result);
    }
  }
}
if (scripts.length > 0) {
  console.log('random scripts');
  for (const contestant of contestants) contestant.faithful = countFaithful(contestant.ports.scripts);
}
stopAll();
print(contestants);
process.exit(0);

async function startAll(): Promise<Contestant[]> {
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
  const all: Contestant[] = [{ name: 'direct', ports: targets, httpPid: undefined, results: [] }];
  const wanted = values.only === '' ? relays.map(({ name }) => name) : values.only.split(',');
  const builds = values.compare.map((text) => {
    const [name = '', path = ''] = text.split('=');
    return build(name, path);
  });
  for (const relay of [...relays.filter(({ name }) => wanted.includes(name)), ...builds]) {
    if (missing(relay.needs).length > 0) continue;
    const [iperf3 = 0, http = 0, ours = 0] = [0, 1, 2].map((i) => FIRST_PORT + 3 * all.length + i);
    await relay.start(iperf3, targets.iperf3, directory);
    const child = await relay.start(http, targets.http, directory);
    await relay.start(ours, targets.scripts, directory);
    await listening(http);
    const ports = { iperf3, http, scripts: ours };
    all.push({ name: relay.name, ports, httpPid: child.pid, results: [] });
  }
  if (isBesideUnits) {
    for (const { name, link, ports } of unitRelays) {
      await listening(ports.http);
      // The service starts with its first client.
      let pid = processOf(`${link}-http`);
      for (let i = 0; pid === undefined && i < 100; i++) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        pid = processOf(`${link}-http`);
      }
      all.push({ name, ports, httpPid: pid, results: [] });
    }
  }
  return all;
}

function countFaithful(port: number): number {
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

function print(all: Contestant[]): void {
  const columns = chosen.flatMap((load) => load.columns);
  const ours = all.find(({ name }) => name === 'wormhole');
  const rows = all.map((contestant) => [
    contestant.name,
    ...columns.map((column) => cell(column, contestant, ours)),
    contestant.faithful === undefined ? '-' : `${contestant.faithful} of ${scripts.length}`,
  ]);
  console.log(
    '\nMedians, with the lowest and the highest of the rounds; in brackets how wormhole compares, above 1 it is ahead.\n',
  );
  const head = ['relay', ...columns.map(({ title }) => title), 'fidelity'];
  for (const row of [head, head.map(() => '---'), ...rows]) console.log(`| ${row.join(' | ')} |`);
}

function cell(column: Column, contestant: Contestant, ours: Contestant | undefined): string {
  const all = sorted(contestant, column);
  const value = middle(all);
  if (value === undefined) return '-';
  const format = (number: number | undefined): string =>
    (number ?? 0).toLocaleString('en', {
      minimumFractionDigits: column.digits,
      maximumFractionDigits: column.digits,
    });
  const text = `${format(value)} [${format(all[0])}–${format(all.at(-1))}]`;
  const reference = ours === undefined || ours === contestant ? undefined : middle(sorted(ours, column));
  if (reference === undefined) return text;
  const ratio = column.better === 'more' ? reference / value : value / reference;
  return `${text} (${ratio.toFixed(2)})`;
}

function sorted(contestant: Contestant, column: Column): number[] {
  return contestant.results
    .map((result) => result[column.title])
    .filter((value) => value !== undefined)
    .sort((a, b) => a - b);
}

function middle(values: number[]): number | undefined {
  return values[Math.floor(values.length / 2)];
}
