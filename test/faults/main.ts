import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ExchangeOptions, ExchangeResult } from '../lab/exchange.ts';
import { installedHost } from '../lab/installed.ts';
import type { Host } from '../lab/rig/host.ts';
import { tail } from '../lab/rig/shell.ts';
import { parseOptions } from '../options.ts';
import { randomNumbers } from '../unit/forwarder-fidelity-script.ts';
import { type Fault, faults } from './faults.ts';

/*
 * npm run faults -- [--seed N] [--runs N] [--fault PART-OF-ITS-NAME]
 *
 * On a host with systemd and Docker: sessions through a link, and in the middle of them, at a moment that the seed says, a fault that it
 * says, too. Afterwards every session must have had all its bytes and a proper end, and all links must serve new clients. A run
 * that fails prints its seed; --seed with it and --runs 1 repeats it. The next one has another host. What 100 runs or more of all faults
 * have shown is written to test/faults/results.
 */

const { values } = parseOptions('faults', {
  options: {
    seed: { type: 'string' },
    runs: { type: 'string', default: '200' },
    fault: { type: 'string', default: '' },
  },
});
const [first, runs] = [Number(values.seed ?? Date.now() % 1_000_000), Number(values.runs)];
if (!Number.isSafeInteger(first) || first < 0 || !Number.isSafeInteger(runs) || runs < 1) {
  console.error('npm run faults: --seed and --runs take whole numbers');
  process.exit(2);
}

const chosen = faults.filter(({ name }) => name.includes(values.fault));
if (chosen.length === 0) {
  console.error(`npm run faults: no fault has "${values.fault}" in its name`);
  process.exit(2);
}

const LINK = 3000;
const START_WEB = `start_web() { docker run -d --name web --restart always --network none wormhole/tools \\
  socat TCP-LISTEN:80,bind=127.0.0.1,fork,reuseaddr EXEC:cat >/dev/null; }`;

const START_BLUE = `start_blue() { ip netns add blue; ip -n blue link set lo up
  systemd-run -q --unit blue -p NetworkNamespacePath=/run/netns/blue socat TCP-LISTEN:80,bind=127.0.0.1,fork,reuseaddr EXEC:cat; }`;
const START_GREEN = 'start_green() { ip netns add green; ip -n green link set lo up; }';
const FUNCTIONS = `${START_WEB}; ${START_BLUE}; ${START_GREEN}`;

/** What the runs of a fault have shown: how many there were, and the seeds of those that failed. */
interface Outcome {
  runs: number;
  failed: number[];
}

const outcomes = new Map(chosen.map(({ name }): [string, Outcome] => [name, { runs: 0, failed: [] }]));
let host = await bootHost();
try {
  for (let run = 0; run < runs; run++) {
    if (await attempt(host, first + run)) continue;
    await host.powerOff();
    host = await bootHost();
  }
} finally {
  await host.powerOff();
}
const failed = [...outcomes.values()].reduce((sum, outcome) => sum + outcome.failed.length, 0);
console.log(describeOutcomes());
if (runs >= 100 && chosen.length === faults.length) writeResults();
console.log(`${runs - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function bootHost(): Promise<Host> {
  const booted = await installedHost({ name: 'faults' });
  await booted.run(
    `${FUNCTIONS}; start_web; start_blue; start_green
     systemd-run -q --unit echo socat TCP-LISTEN:4009,bind=127.0.0.1,fork,reuseaddr EXEC:cat
     wormhole create id ${LINK} url :${LINK} tail url :4000
     wormhole create id echo url :3009 tail url :4009
     wormhole create id web url :7000 tail url :80 docker-ns web
     wormhole create id blue url :7001 tail url blue@:80
     wormhole create id green url green@:7002 tail url :4009
     wormhole create id green-load url green@:${LINK} tail url green@:4000`,
    { timeout: 120 },
  );
  return booted;
}

/** A line for each fault that was played, as a table of Markdown. */
function describeOutcomes(): string {
  const played = [...outcomes].filter(([, outcome]) => outcome.runs > 0);
  const lines = played.map(([name, outcome]) => `| ${name} | ${outcome.runs} | ${outcome.failed.length} |`);
  return ['| fault | runs | failed |', '| --- | --- | --- |', ...lines].join('\n');
}

function writeResults(): void {
  const results = fileURLToPath(new URL('results', import.meta.url));
  mkdirSync(results, { recursive: true });
  const about = { date: new Date().toISOString(), node: process.version, seed: first, runs, failed };
  const report = { ...about, faults: Object.fromEntries(outcomes) };
  writeFileSync(`${results}/faults.json`, `${JSON.stringify(report, undefined, 1)}\n`);
}

/** Plays the run of a seed. Returns whether nothing was wrong. */
async function attempt(on: Host, seed: number): Promise<boolean> {
  const random = randomNumbers(seed);
  const fault = chosen[Math.floor(random() * chosen.length)] as Fault;
  const [moment, delay, call] = [3 * random(), random(), 1 + Math.floor(200 * random() ** 2)];
  const what = `seed ${seed}, after ${moment.toFixed(2)} s: ${fault.name}`;
  const began = new Date();
  const outcome = outcomes.get(fault.name) as Outcome;
  outcome.runs += 1;
  try {
    await play(on, { seed, fault, moment, delay, call });
    console.log(`ok      ${what}`);
    return true;
  } catch (error) {
    outcome.failed.push(seed);
    console.log(`FAILED  ${what}: ${(error as Error).message}`);
    console.log(`        again: npm run faults -- --seed ${seed} --runs 1`);
    const lines = await on.journal(`--since=@${Math.floor(began.getTime() / 1000)}`).catch(String);
    const telling = lines.split('\n').filter((line) => !/level=info|SIGKILL to process/.test(line));
    console.log(tail(telling.join('\n'), 60));
    return false;
  }
}

interface Play {
  seed: number;
  fault: Fault;
  /** When the fault happens, s after the sessions have begun. */
  moment: number;
  delay: number;
  call: number;
}

async function play(on: Host, { seed, fault, moment, delay, call }: Play): Promise<void> {
  const options: ExchangeOptions = { listen: 4000, link: LINK, sessions: 40, seed, seconds: 5, bytes: 1e6 };
  const exchange = on.spawn(
    `cd /src/wormhole && exec ${fault.namespace ? `ip netns exec ${fault.namespace}` : ''} node --import tsx test/lab/exchange.ts '${JSON.stringify(options)}'`,
  );
  try {
    await on.waitFor(() => exchange.stdout().includes('running'), {
      timeout: 60,
      what: 'the sessions to run',
    });
    const variables = `${FUNCTIONS}; LINK=${LINK}; DELAY=${delay.toFixed(3)}; CALL=${call}; RANDOM=${seed}`;
    const { status, stderr } = await on.run(`${variables}; sleep ${moment.toFixed(3)}; ${fault.script}`, {
      check: false,
      timeout: 120,
    });
    if (status !== 0) throw new Error(`the fault itself ended with ${status}: ${stderr}`);
    const ended = await Promise.race([exchange.exited, later(120)]);
    if (ended === undefined) throw new Error('the sessions do not end');
    const result: ExchangeResult = JSON.parse(ended.stdout.trim().split('\n').at(-1) ?? '');
    if (result.ends.ok !== 2 * options.sessions)
      throw new Error(`the sessions ended ${JSON.stringify(result.ends)}`);
  } finally {
    await exchange.stop();
  }
  for (const [port, namespace] of [[3009], [7000], [7001], [7002, 'green']] as const) {
    const inside = namespace ? `ip netns exec ${namespace} ` : '';
    const ask = async () =>
      (await on.run(`echo ${seed} | ${inside}socat -t 5 - TCP:127.0.0.1:${port}`, { check: false })).stdout;
    await on.waitFor(async () => (await ask()) === `${seed}\n`, {
      timeout: 60,
      what: `an answer at ${port}`,
    });
  }
  const { stdout: listed } = await on.run('wormhole list');
  if (/ (failed|stopped|waiting) /.test(listed)) throw new Error(`list says:\n${listed}`);
  const units = (await on.failedUnits()).split('\n').filter((line) => line.includes('wormhole'));
  if (units.length > 0) throw new Error(`units have failed: ${units.join(', ')}`);
}

function later(seconds: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), 1000 * seconds).unref());
}
