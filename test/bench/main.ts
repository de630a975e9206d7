import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildPrograms } from '../programs.ts';
import { type Column, cpu, loads, type Result } from './loads.ts';
import { cpuSeconds, listening, missing, type Relay, relays, start, startNginx, stopAll } from './relays.ts';

/*
 * Compares the forwarder with other relays on this machine: every round puts every load on every relay in turn, so
 * that what else the machine does hits all alike; the table shows medians. Nothing here asserts a time.
 */

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    only: { type: 'string', default: '' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log('options: --rounds N (3)  --seconds N (2) a load  --only NAME,NAME (some relays)');
  process.exit(0);
}

interface Contestant {
  name: string;
  iperf3: number;
  http: number;
  httpPid: number | undefined;
  results: Result[];
}

const FIRST_PORT = 17800;
const IPERF3_PORT = FIRST_PORT;
const HTTP_PORT = FIRST_PORT + 1;

const tools: Relay['needs'] = [
  ['/usr/bin/iperf3', 'iperf3'],
  ['/usr/bin/wrk', 'wrk'],
  ['/usr/sbin/nginx', 'nginx'],
];
const absent = [...new Set([...missing(tools), ...relays.flatMap((relay) => missing(relay.needs))])];
if (absent.length > 0)
  console.log(`Missing Debian packages; install them with: apt-get install -y ${absent.join(' ')}`);
if (missing(tools).length > 0) process.exit(1);

buildPrograms();
const directory = mkdtempSync(join(tmpdir(), 'wormhole-bench-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

const contestants = await startAll();
for (let round = 1; round <= Number(values.rounds); round++) {
  console.log(`round ${round} of ${values.rounds}`);
  for (const load of loads) {
    for (const contestant of contestants) {
      const { httpPid } = contestant;
      const before = httpPid === undefined ? 0 : cpuSeconds(httpPid);
      const { requests, ...result } = await load.run(contestant[load.target], Number(values.seconds));
      if (requests !== undefined && httpPid !== undefined) {
        result[cpu.title] = ((cpuSeconds(httpPid) - before) * 1e6) / requests;
      }
      contestant.results.push(result);
    }
  }
}
stopAll();
print(contestants);
process.exit(0);

async function startAll(): Promise<Contestant[]> {
  start('iperf3', ['-s', '-p', `${IPERF3_PORT}`]);
  startNginx(
    directory,
    HTTP_PORT,
    '',
    `http { access_log off; keepalive_requests 100000000; server { listen 127.0.0.1:${HTTP_PORT} backlog=4096; ` +
      'location / { return 200 "ok\\n"; } } }',
  );
  await listening(HTTP_PORT);
  const all: Contestant[] = [
    { name: 'direct', iperf3: IPERF3_PORT, http: HTTP_PORT, httpPid: undefined, results: [] },
  ];
  const wanted = values.only === '' ? relays.map(({ name }) => name) : values.only.split(',');
  for (const relay of relays) {
    if (missing(relay.needs).length > 0 || !wanted.includes(relay.name)) continue;
    const [iperf3, http] = [FIRST_PORT + 2 * all.length, FIRST_PORT + 2 * all.length + 1];
    await relay.start(iperf3, IPERF3_PORT, directory);
    const child = await relay.start(http, HTTP_PORT, directory);
    await listening(http);
    all.push({ name: relay.name, iperf3, http, httpPid: child.pid, results: [] });
  }
  return all;
}

function print(all: Contestant[]): void {
  const columns = loads.flatMap((load) => load.columns);
  const ours = all.find(({ name }) => name === 'wormhole');
  const rows = all.map((contestant) => [
    contestant.name,
    ...columns.map((column) => cell(column, contestant, ours)),
  ]);
  console.log(`\nMedians; in brackets how wormhole compares, above 1 it is ahead.\n`);
  for (const row of [['relay', ...columns.map(({ title }) => title)], columns.map(() => '---'), ...rows]) {
    console.log(`| ${(row[0] === '---' ? ['---', ...row] : row).join(' | ')} |`);
  }
}

function cell(column: Column, contestant: Contestant, ours: Contestant | undefined): string {
  const value = median(contestant, column);
  if (value === undefined) return '-';
  const text = value.toLocaleString('en', {
    minimumFractionDigits: column.digits,
    maximumFractionDigits: column.digits,
  });
  const reference = ours === undefined || ours === contestant ? undefined : median(ours, column);
  if (reference === undefined) return text;
  const ratio = column.better === 'more' ? reference / value : value / reference;
  return `${text} (${ratio.toFixed(2)})`;
}

function median(contestant: Contestant, column: Column): number | undefined {
  const values = contestant.results.map((result) => result[column.title]).filter((v) => v !== undefined);
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
