// Runs layers of tests: node --import tsx test/run.ts LAYER… [PART-OF-A-FILE-NAME…] [--changed[=COMMIT]]
//
// A layer is a directory beside this file, or `lint`. Each test file is a process of its own. With --changed only those
// run that can go otherwise than before COMMIT; without COMMIT, than where this branch has left main.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { affected, changedFiles, filesOf } from './changed.ts';
import { failuresIn } from './failures.ts';
import { sweepDeadSessions } from './lab/rig/session.ts';
import { killGroup } from './lab/rig/shell.ts';
import { inLanes, type Job, type Print } from './lanes.ts';
import type { TestTime } from './timed/uvu.ts';
import { keepSeconds, lastSeconds, slowest } from './timings.ts';

/** How many tests passed, failed and were skipped. */
interface Score {
  passed: number;
  failed: number;
  skipped: number;
}

const here = fileURLToPath(new URL('.', import.meta.url));
const repository = join(here, '..');

/** Seconds that a test file may take. */
const fileTimeout = 40 * 60;

/** How many of the slowest tests are told. */
const slowestCount = 10;

/**
 * Lanes that a file of a layer takes, of six for each processor, and seconds that one takes that has never been run here.
 * A unit test waits for half of its time. Hosts of the lab and virtual machines wait most of the time.
 */
const layerLanes: Record<string, number> = { lint: 6, unit: 4, lab: 3, ipsec: 3 };
const layerSeconds: Record<string, number> = { lint: 10, unit: 1, lab: 60, ipsec: 300 };

/** A test file, or the linter. */
interface FileJob extends Job {
  layer: string;
  /** Its path from the repository; of the linter, `lint`. */
  name: string;
}

/** The process groups that run now. */
const running = new Set<number>();

/** Runs `argv` in the repository, passing on what it prints, and returns its standard output and exit status. */
function stream(
  argv: string[],
  print: Print,
  environment: NodeJS.ProcessEnv = {},
): Promise<{ output: string; status: number | string }> {
  const [file = '', ...args] = argv;
  const child = spawn(file, args, {
    cwd: repository,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    // test/setup.sh has built what is to be tested.
    env: { ...process.env, ...environment, WORMHOLE_BUILT: '1' },
  });
  const pid = child.pid;
  if (pid !== undefined) running.add(pid);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk;
    print(chunk);
  });
  child.stderr.on('data', print);
  let late = false;
  const end = (signal: NodeJS.Signals) => pid !== undefined && killGroup(pid, signal);
  const timers = [
    setTimeout(() => {
      late = true;
      end('SIGTERM');
    }, fileTimeout * 1000),
    // After SIGTERM a lab test powers off its hosts.
    setTimeout(() => end('SIGKILL'), (fileTimeout + 30) * 1000),
  ];
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', () => {
      // What it left behind must neither hold its output open nor outlive the run.
      end('SIGKILL');
      if (pid !== undefined) running.delete(pid);
    });
    child.on('close', (code, signal) => {
      for (const timer of timers) clearTimeout(timer);
      resolve({ output, status: late ? `no end after ${fileTimeout} s` : (code ?? signal ?? 'unknown') });
    });
  });
}

/** The score that uvu printed, or undefined when it did not get to the end. */
function parseScore(output: string): Score | undefined {
  const plain = stripVTControlCharacters(output);
  const found = [...plain.matchAll(/^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)$/gm)].at(-1);
  if (!found) return undefined;
  const [total = 0, passed = 0, skipped = 0] = found.slice(1).map(Number);
  // uvu passes over tests without a word when a hook before them throws: they are in the total only.
  return { passed, failed: total - passed, skipped };
}

/** How a test file went, what was wrong with it, if anything, in a few words and at length, and what its tests took. */
interface Outcome {
  score: Score;
  trouble?: string;
  failures?: string[];
  times: TestTime[];
}

/** Runs one test file; a file that breaks off or tests nothing is one failure. */
async function runFile(path: string, print: Print): Promise<Outcome> {
  const timesFile = join(scratch, path.replaceAll('/', '-'));
  const timed = ['--import', 'tsx', '--import', './test/timed/register.ts'];
  const environment = { WORMHOLE_TEST_TIMES: timesFile };
  const { output, status } = await stream([process.execPath, ...timed, path], print, environment);
  const times = existsSync(timesFile)
    ? readFileSync(timesFile, 'utf8')
        .trim()
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : [];
  const score = parseScore(output) ?? { passed: 0, failed: 0, skipped: 0 };
  const failures = failuresIn(output);
  if (score.failed > 0) return { score, times, failures, trouble: `${score.failed} failed` };
  score.failed = 1;
  if (status !== 0) return { score, times, failures, trouble: `ended with ${status}` };
  if (score.passed + score.skipped === 0) return { score, times, failures, trouble: 'ran no test' };
  score.failed = 0;
  return { score, times };
}

async function runLint(print: Print): Promise<Outcome> {
  const { status, output } = await stream(['npm', 'run', '--silent', 'lint'], print);
  if (status === 0) return { score: { passed: 1, failed: 0, skipped: 0 }, times: [] };
  const score = { passed: 0, failed: 1, skipped: 0 };
  return { score, times: [], failures: failuresIn(output), trouble: `ended with ${status}` };
}

function filesOfLayer(layer: string, filters: string[]): string[] {
  return readdirSync(join(here, layer), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .filter((name) => filters.length === 0 || filters.some((filter) => basename(name).includes(filter)))
    .sort()
    .map((name) => relative(repository, join(here, layer, name)));
}

/** Returns those of the test files that --changed leaves, and says how many those are. Throws when git has no such commit. */
function onlyAffected(files: string[], base: string | undefined): string[] {
  const changed = changedFiles(repository, base) ?? refuse(`git knows no commit "${base}"`);
  const left = affected(changed.files, files, filesOf(repository));
  console.log(
    `# changed since ${changed.base}: ${changed.files.length} files, which ${left.length} of ${files.length} test files are about`,
  );
  return left;
}

/** Ends a run that cannot begin, with its closing line. */
function refuse(why: string): never {
  console.error(`test/run.ts: ${why}`);
  console.log('0 passed, 1 failed');
  process.exit(2);
}

let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    interrupted = true;
    for (const pid of running) killGroup(pid, 'SIGTERM');
  });
}

const isLayer = (word: string) => word === 'lint' || existsSync(join(here, word));
const options = process.argv.slice(2).filter((word) => word.startsWith('-'));
const words = process.argv.slice(2).filter((word) => !word.startsWith('-'));
const onlyChanged = options.find((word) => /^--changed(=|$)/.test(word));
for (const option of options) {
  if (option !== onlyChanged)
    refuse(`there is no option "${option}": there is --changed, or --changed=COMMIT`);
}
const layers = words.filter(isLayer);
const filters = words.filter((word) => !isLayer(word));
const sum: Score = { passed: 0, failed: 0, skipped: 0 };
const troubles: string[] = [];
const failures: string[] = [];
const seconds: Record<string, number> = {};
const times: (TestTime & { job: string })[] = [];
const scratch = mkdtempSync(join(tmpdir(), 'wormhole-test-'));

async function runJob({ name, layer }: FileJob, print: Print): Promise<void> {
  if (interrupted) return;
  print(`\n# ${name}\n`);
  const begin = Date.now();
  const outcome = layer === 'lint' ? await runLint(print) : await runFile(name, print);
  const took = (Date.now() - begin) / 1000;
  print(`# ${name}: ${took.toFixed(1)} s\n`);
  sum.passed += outcome.score.passed;
  sum.failed += outcome.score.failed;
  sum.skipped += outcome.score.skipped;
  times.push(...outcome.times.map((time) => ({ ...time, job: name })));
  if (outcome.trouble) troubles.push(`${name}: ${outcome.trouble}`);
  if (outcome.failures) failures.push(`# ${name}`, ...outcome.failures);
  if (!outcome.trouble) seconds[name] = took;
}

/** The jobs of this run. */
function findJobs(): FileJob[] {
  const known = lastSeconds();
  const job = (layer: string, name: string): FileJob => ({
    ...{ layer, name, lanes: layerLanes[layer] ?? 1 },
    seconds: known[name] ?? layerSeconds[layer] ?? 0,
  });
  const files = layers.flatMap((layer) => (layer === 'lint' ? [] : filesOfLayer(layer, filters)));
  const left = onlyChanged ? onlyAffected(files, onlyChanged.split('=')[1]) : files;
  const lint = layers.includes('lint') ? [job('lint', 'lint')] : [];
  return [...lint, ...left.map((name) => job(name.split('/')[1] ?? '', name))];
}

const jobs = findJobs();
const lanes = 6 * availableParallelism();
// Unit tests have an eye on the time, and none for what else runs.
const isFirst = ({ layer }: FileJob) => layer === 'lint' || layer === 'unit';
await inLanes(jobs.filter(isFirst), lanes, runJob);
await inLanes(
  jobs.filter((job) => !isFirst(job)),
  lanes,
  runJob,
);
rmSync(scratch, { recursive: true });
keepSeconds(seconds);
if (jobs.length === 0 && !onlyChanged) {
  sum.failed = 1;
  troubles.push(`no test file for: ${words.join(' ')}`);
}
if (interrupted) {
  sum.failed++;
  troubles.push('interrupted');
}
// A test that was killed has not cleared up.
if (layers.includes('lab') || layers.includes('ipsec')) sweepDeadSessions();
if (times.length > slowestCount) console.log(`\n# the slowest tests\n${slowest(times, slowestCount)}`);
if (failures.length > 0) console.log(`\n# what failed\n${failures.join('\n')}`);
console.log(['', ...troubles.map((line) => `FAILED ${line}`)].join('\n'));
console.log(`${sum.passed} passed, ${sum.failed} failed${sum.skipped ? `, ${sum.skipped} skipped` : ''}`);
process.exitCode = sum.failed > 0 ? 1 : 0;
