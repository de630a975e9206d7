import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { writeKey } from '../lab/cluster.ts';
import { ETCD_PACKAGES, type Etcd, startEtcd } from '../lab/etcd.ts';
import { installedHost, succeeds } from '../lab/installed.ts';
import { boot, bootedHosts, type Host } from '../lab/rig/host.ts';
import { parseOptions } from '../options.ts';
import type { Fleet } from './machines.ts';

/*
 * npm run scale -- [--seconds N]
 *
 * Three nodes of etcd on three hosts, with TLS and a user; machines that publish services, simulated by one process that runs the code
 * of a real one; and three real hosts: two publish the service "real", and one has links to it. For fleets of several sizes, it counts the requests
 * that etcd gets while nothing happens, and what creating and refreshing a link costs. Then one of the two real machines loses power. What was measured is
 * written to test/scale/results.
 */

const { values } = parseOptions('scale', { options: { seconds: { type: 'string', default: '60' } } });
const seconds = Number(values.seconds);
if (!Number.isSafeInteger(seconds) || seconds < 20) {
  console.error(
    'npm run scale: --seconds takes a whole number of at least 20, the time between two renewals',
  );
  process.exit(2);
}

/** Each differs from the one before in one of the numbers. */
const FLEETS: Fleet[] = [
  { machines: 10, services: 100, copies: 1 },
  { machines: 100, services: 100, copies: 1 },
  { machines: 100, services: 1000, copies: 1 },
  { machines: 100, services: 1000, copies: 10 },
];

/** How many links are created for one number. */
const CREATES = 5;

interface Lab {
  etcd: Etcd;
  near: Host;
  publishers: [Host, Host];
  /** Runs the simulated machines. */
  fleetHost: Host;
}

/** What etcd has done since it was started, all nodes together. */
interface Work {
  requests: Record<string, number>;
  cpuSeconds: number;
}

/** What one fleet costs. */
interface Cost {
  fleet: Fleet;
  keys: number;
  /** While nothing happens. */
  idle: { requestsPerSecond: Record<string, number>; requestsPerSecondInAll: number; etcdCpuPercent: number };
  registrations: { failures: number; slowestMs: number };
  /** The answer of etcd that a link needs, bytes. */
  lookUpBytes: number;
  create: { medianMs: number; fastestMs: number; slowestMs: number };
  /** Looking up the machines of a link again, when nothing has changed. */
  refresh: { medianMs: number };
}

async function start(): Promise<Lab> {
  const nodes: Host[] = [];
  for (const n of [1, 2, 3])
    nodes.push(await boot({ name: `etcd-${n}`, docker: false, packages: ETCD_PACKAGES }));
  const etcd = await startEtcd(nodes);
  const near = await installedHost({ name: 'near', docker: false });
  const publishers: [Host, Host] = [
    await installedHost({ name: 'one', docker: false }),
    await installedHost({ name: 'two', docker: false }),
  ];
  const fleetHost = await installedHost({ name: 'fleet', docker: false });
  const key = (await near.run('cat /etc/wormhole/key.secret')).stdout;
  for (const host of [near, ...publishers, fleetHost]) await etcd.configure(host);
  for (const host of publishers) {
    await writeKey(host, key);
    await host.run(
      `systemd-run -q --unit server socat TCP-LISTEN:5432,bind=127.0.0.1,reuseaddr,fork EXEC:'echo ${host.name}'`,
    );
    await succeeds(host, 'publish real tail url :5432');
    await host.waitFor(async () => (await keysOf(etcd)).includes(host.address), { what: 'its key' });
  }
  const bundle = join(tmpdir(), `wormhole-scale-${process.pid}`);
  mkdirSync(bundle);
  try {
    await build({
      entryPoints: [fileURLToPath(new URL('machines.ts', import.meta.url))],
      outfile: join(bundle, 'machines.cjs'),
      ...{ bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' },
      external: ['koffi'],
    });
    await fleetHost.copyIn(join(bundle, 'machines.cjs'), '/root');
  } finally {
    rmSync(bundle, { recursive: true });
  }
  return { etcd, near, publishers, fleetHost };
}

async function keysOf(etcd: Etcd): Promise<string> {
  return (await etcd.ctl('get --prefix --keys-only /wormhole/machines/')).stdout;
}

/** What the nodes of etcd have done, as their metrics say. */
async function workOf({ etcd }: Lab): Promise<Work> {
  const work: Work = { requests: {}, cpuSeconds: 0 };
  for (const node of [1, 2, 3]) {
    const { stdout } = await etcd
      .machineOf(node)
      .run(
        `curl -sk https://127.0.0.1:237${node}/metrics | grep -E '^(grpc_server_started_total|process_cpu_seconds_total)'`,
      );
    for (const line of stdout.trim().split('\n')) {
      const value = Number(line.split(' ').at(-1));
      const method = /grpc_method="(\w+)"/.exec(line)?.[1];
      if (method === undefined) work.cpuSeconds += value;
      else if (value > 0) work.requests[method] = (work.requests[method] ?? 0) + value;
    }
  }
  return work;
}

/** What was done between two moments, without what did not happen. */
function difference(before: Work, after: Work): Work {
  const requests = Object.entries(after.requests)
    .map(([method, count]) => [method, count - (before.requests[method] ?? 0)] as const)
    .filter(([, count]) => count > 0);
  return { requests: Object.fromEntries(requests), cpuSeconds: after.cpuSeconds - before.cpuSeconds };
}

function sum(numbers: Record<string, number>): number {
  return Object.values(numbers).reduce((all, one) => all + one, 0);
}

async function measure(lab: Lab, fleet: Fleet): Promise<Cost> {
  const { etcd, fleetHost } = lab;
  await fleetHost.run(`rm -rf /run/fleet; mkdir /run/fleet
    systemd-run -q --unit fleet node /root/machines.cjs /run/fleet '${JSON.stringify(fleet)}'`);
  const keys = async () => (await keysOf(etcd)).trim().split(/\s+/).length;
  await fleetHost.waitFor(async () => (await keys()) === fleet.machines + 2, {
    timeout: 120,
    what: `${fleet.machines} machines to be in etcd`,
  });
  const began = Date.now();
  const before = await workOf(lab);
  await sleep(1000 * seconds);
  const { requests, cpuSeconds } = difference(before, await workOf(lab));
  const elapsed = (Date.now() - began) / 1000;
  const perSecond = Object.fromEntries(
    Object.entries(requests).map(([method, count]) => [method, round(count / elapsed)]),
  );
  const { failures, slowestMs } = JSON.parse((await fleetHost.run('cat /run/fleet/count')).stdout);
  const idle = {
    requestsPerSecond: perSecond,
    requestsPerSecondInAll: round(sum(requests) / elapsed),
    etcdCpuPercent: round((100 * cpuSeconds) / elapsed),
  };
  const lookUpBytes = (await etcd.ctl('get --prefix /wormhole/machines/ -w json')).stdout.length;
  const changes = await changesOf(lab);
  const cost = {
    fleet,
    keys: await keys(),
    idle,
    registrations: { failures, slowestMs },
    lookUpBytes,
    ...changes,
  };
  await fleetHost.run('systemctl stop fleet');
  // Their leases end.
  const { stdout } = await etcd.ctl('del --prefix /wormhole/machines/10.99.');
  if (Number(stdout) !== fleet.machines) throw new Error(`${stdout} machines have been in etcd`);
  return cost;
}

/** Creates links, and looks up the machines of one again. */
async function changesOf({ near }: Lab): Promise<Pick<Cost, 'create' | 'refresh'>> {
  const time = async (command: (n: number) => string) => {
    const times: number[] = [];
    for (let n = 0; n < CREATES; n++) {
      const { stdout } = await near.run(
        `begin=$(date +%s%N); ${command(n)} >/dev/null; echo $((($(date +%s%N) - begin) / 1000000))`,
        { timeout: 120 },
      );
      times.push(Number(stdout));
    }
    times.sort((one, other) => one - other);
    return {
      medianMs: times[Math.floor(CREATES / 2)] ?? 0,
      fastestMs: times[0] ?? 0,
      slowestMs: times.at(-1) ?? 0,
    };
  };
  const create = await time((n) => `wormhole create url :${6000 + n} remote service:real`);
  // All but the last are deleted: a refresh is that of one link.
  await near.run(`wormhole delete ${Array.from({ length: CREATES - 1 }, (_, n) => 6000 + n).join(' ')}`, {
    timeout: 120,
  });
  const id = 6000 + CREATES - 1;
  const { medianMs } = await time(() => `systemctl start wormhole-services@${id}.service`);
  await near.run(`wormhole delete ${id}`, { timeout: 120 });
  return { create, refresh: { medianMs } };
}

/** What clients notice of a machine that loses power, and when links forget it. */
interface Loss {
  clients: number;
  /** Those that nobody has served. */
  failed: number;
  /** When the last of those came that had to wait because the dead machine was dialled, s after its death. */
  lastFailedDialSeconds: number;
  /** How many had to wait, and how long at most, ms. */
  waited: number;
  longestWaitMs: number;
  /** When the link had it no more, s after its death. */
  forgottenAfterSeconds: number;
}

/** A client that waits longer than this has met the dead machine, ms. It is dialled for 2 s. */
const WAIT_MS = 1500;

async function lose({ near, publishers: [one, two] }: Lab): Promise<Loss> {
  await near.copyIn(fileURLToPath(new URL('clients.sh', import.meta.url)), '/root');
  await succeeds(near, 'create --balance round-robin url :6100 remote service:real');
  await near.run('systemd-run -q --unit clients bash /root/clients.sh 6100 /run/clients');
  const answered = async () => (await near.run('cat /run/clients')).stdout;
  const areBoth = async () => {
    const text = await answered();
    return / one$/m.test(text) && / two$/m.test(text);
  };
  await near.waitFor(areBoth, { what: 'clients of both machines' });
  await one.setCable('down');
  const lostAt = Date.now();
  await one.crash();
  await near.waitFor(
    async () =>
      new RegExp(`service real is at ${two.address.replaceAll('.', '\\.')};`).test(
        await near.journal('-t', 'wormhole-services'),
      ),
    { timeout: 300, what: 'the link to forget the machine' },
  );
  const forgottenAfterSeconds = round((Date.now() - lostAt) / 1000);
  await sleep(20_000);
  await near.run('systemctl stop clients');
  const after = (await near.run('cat /run/clients')).stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
    .map(([began, took, name]) => ({ began: Number(began) - lostAt, took: Number(took), name }))
    .filter(({ began }) => began >= 0);
  const waited = after.filter(({ took }) => took > WAIT_MS);
  return {
    clients: after.length,
    failed: after.filter(({ name }) => name !== 'two').length,
    lastFailedDialSeconds: round(Math.max(0, ...waited.map(({ began, took }) => began + took)) / 1000),
    waited: waited.length,
    longestWaitMs: Math.max(0, ...after.map(({ took }) => took)),
    forgottenAfterSeconds,
  };
}

function round(value: number): number {
  return Math.round(10 * value) / 10;
}

const costs: Cost[] = [];
let loss: Loss | undefined;
try {
  const lab = await start();
  for (const fleet of FLEETS) {
    const cost = await measure(lab, fleet);
    costs.push(cost);
    console.log(JSON.stringify(cost));
  }
  loss = await lose(lab);
  console.log(JSON.stringify(loss));
} finally {
  for (const host of bootedHosts()) await host.powerOff();
}
const results = fileURLToPath(new URL('results', import.meta.url));
mkdirSync(results, { recursive: true });
const report = { date: new Date().toISOString(), node: process.version, seconds, costs, loss };
writeFileSync(join(results, 'etcd.json'), `${JSON.stringify(report, undefined, 1)}\n`);
