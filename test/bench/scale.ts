import { installedHost } from '../lab/installed.ts';
import type { Host } from '../lab/rig/host.ts';
import { addSamples, type Column, type Results, type Row, tableOf } from './report.ts';
import { writeResults } from './results.ts';

/* The part of the benchmark about hosts with many links: what commands, systemd and a boot take. As root, on the lab's Debian. */

/** Samples of each command. */
const TIMED = 5;

/** The most that filling or emptying a host may take, seconds. */
const MOST_SECONDS = 1800;

const FIRST_PORT = 20_000;

const columns: readonly Column[] = [
  { title: 'create s', better: 'less', digits: 2 },
  { title: 'list s', better: 'less', digits: 2 },
  { title: 'daemon-reload s', better: 'less', digits: 2 },
  { title: 'delete s', better: 'less', digits: 2 },
  { title: 'boot s', better: 'less', digits: 1 },
  { title: 'PID 1 MiB', better: 'less', digits: 1 },
];

/** Measures hosts with these numbers of links, ascending; prints the table, and writes the results. */
export async function benchScale(counts: readonly number[]): Promise<void> {
  const host = await installedHost({ name: 'scale', docker: false });
  const rows: Row[] = [];
  const results: Results = { part: 'scale', columns, rows, reference: '' };
  try {
    let there = 0;
    for (const count of [0, ...counts]) {
      console.log(`scale: ${count} links`);
      await fill(host, there, count);
      there = count;
      const row: Row = { name: `${count} links`, samples: {} };
      rows.push(row);
      await measure(host, row, count);
      writeResults(results);
    }
    await host.run('wormhole delete --all', { timeout: MOST_SECONDS });
  } finally {
    await host.powerOff();
  }
  console.log(`\n${tableOf(results)}`);
}

function create(port: number): string {
  return `wormhole create url :${port} tail url :1`;
}

async function fill(host: Host, from: number, to: number): Promise<void> {
  if (from === to) return;
  const each = create(0).replace(':0', ':$port');
  await host.run(
    `set -e; for port in $(seq ${FIRST_PORT + from} ${FIRST_PORT + to - 1}); do ${each} >/dev/null; done`,
    {
      timeout: MOST_SECONDS,
    },
  );
}

async function measure(host: Host, row: Row, count: number): Promise<void> {
  for (let n = 0; n < TIMED; n++) {
    const port = FIRST_PORT + count + n;
    addSamples(row, { 'create s': await secondsOf(host, create(port)) });
  }
  for (let n = 0; n < TIMED; n++) {
    addSamples(row, {
      'list s': await secondsOf(host, 'wormhole list'),
      'daemon-reload s': await secondsOf(host, 'systemctl daemon-reload'),
    });
  }
  for (let n = 0; n < TIMED; n++)
    addSamples(row, { 'delete s': await secondsOf(host, `wormhole delete ${FIRST_PORT + count + n}`) });
  const { stdout } = await host.run("awk '/^VmRSS:/ { print $2 }' /proc/1/status");
  addSamples(row, { 'PID 1 MiB': Number(stdout) / 1024 });
  await host.reboot();
  // systemd counts from the start of the kernel, which all hosts of the lab share.
  const times = await host.run('systemctl show -P UserspaceTimestampMonotonic -P FinishTimestampMonotonic');
  const [began = 0, finished = 0] = times.stdout.split('\n').filter(Boolean).map(Number);
  addSamples(row, { 'boot s': (finished - began) / 1e6 });
  const active = await host.run(
    "systemctl list-units --no-legend --state=active 'wormhole-2*.socket' | wc -l",
  );
  if (Number(active.stdout) !== count)
    throw new Error(`${active.stdout.trim()} of ${count} links listen after the boot`);
}

/** What a command takes on the host itself, without the way into it. */
async function secondsOf(host: Host, command: string): Promise<number> {
  const { stdout } = await host.run(
    `TIMEFORMAT=%R; { time ${command} >/dev/null 2>&1 || echo failed; } 2>&1`,
    {
      timeout: MOST_SECONDS,
    },
  );
  const seconds = Number(stdout);
  if (!(seconds > 0)) throw new Error(`${command}: ${stdout}`);
  return seconds;
}
