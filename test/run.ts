// Runs layers of tests: node --import tsx test/run.ts LAYER… [PART-OF-A-FILE-NAME…]
//
// A layer is a directory beside this file, or `lint`. Each test file is a process of its own; two run at
// a time, since most of the time they wait.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { sweepDeadSessions } from './lab/rig/session.ts';
import { killGroup } from './lab/rig/shell.ts';
import { inLanes, type Print } from './lanes.ts';

/** How many tests passed, failed and were skipped. */
interface Score {
  passed: number;
  failed: number;
  skipped: number;
}

const here = fileURLToPath(new URL('.', import.meta.url));
const repository = join(here, '..');

/** Seconds that a test file may take. */
const fileTimeout = 20 * 60;

/** The process groups that run now. */
const running = new Set<number>();

/** Runs `argv` in the repository, passing on what it prints, and returns its standard output and exit status. */
function stream(argv: string[], print: Print): Promise<{ output: string; status: number | string }> {
  const [file = '', ...args] = argv;
  const child = spawn(file, args, { cwd: repository, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
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

/** How a test file went, and what was wrong with it, if anything. */
interface Outcome {
  score: Score;
  trouble?: string;
}

/** Runs one test file; a file that breaks off or tests nothing is one failure. */
async function runFile(path: string, print: Print): Promise<Outcome> {
  const { output, status } = await stream([process.execPath, '--import', 'tsx', path], print);
  const score = parseScore(output) ?? { passed: 0, failed: 0, skipped: 0 };
  if (score.failed > 0) return { score, trouble: `${score.failed} failed` };
  score.failed = 1;
  if (status !== 0) return { score, trouble: `ended with ${status}` };
  if (score.passed + score.skipped === 0) return { score, trouble: 'ran no test' };
  score.failed = 0;
  return { score };
}

async function runLint(print: Print): Promise<Outcome> {
  const { status } = await stream(['npm', 'run', '--silent', 'lint'], print);
  return status === 0
    ? { score: { passed: 1, failed: 0, skipped: 0 } }
    : { score: { passed: 0, failed: 1, skipped: 0 }, trouble: `ended with ${status}` };
}

function filesOf(layer: string, filters: string[]): string[] {
  return readdirSync(join(here, layer), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .filter((name) => filters.length === 0 || filters.some((filter) => basename(name).includes(filter)))
    .sort()
    .map((name) => relative(repository, join(here, layer, name)));
}

let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    interrupted = true;
    for (const pid of running) killGroup(pid, 'SIGTERM');
  });
}

const isLayer = (word: string) => word === 'lint' || existsSync(join(here, word));
const words = process.argv.slice(2);
const layers = words.filter(isLayer);
const filters = words.filter((word) => !isLayer(word));
const sum: Score = { passed: 0, failed: 0, skipped: 0 };
const troubles: string[] = [];
const jobsOf = (layer: string) => (layer === 'lint' ? ['lint'] : filesOf(layer, filters));
const jobs = layers.flatMap(jobsOf);

async function runJob(job: string, print: Print): Promise<void> {
  if (interrupted) return;
  print(`\n# ${job}\n`);
  const begin = Date.now();
  const { score, trouble } = job === 'lint' ? await runLint(print) : await runFile(job, print);
  print(`# ${job}: ${((Date.now() - begin) / 1000).toFixed(1)} s\n`);
  sum.passed += score.passed;
  sum.failed += score.failed;
  sum.skipped += score.skipped;
  if (trouble) troubles.push(`${job}: ${trouble}`);
}

await inLanes(jobs, Math.min(2, availableParallelism()), runJob);
if (jobs.length === 0) {
  sum.failed = 1;
  troubles.push(`no test file for: ${words.join(' ')}`);
}
if (interrupted) {
  sum.failed++;
  troubles.push('interrupted');
}
// A test that was killed has not cleared up.
if (layers.includes('lab') || layers.includes('ipsec')) sweepDeadSessions();
console.log(['', ...troubles.map((line) => `FAILED ${line}`)].join('\n'));
console.log(`${sum.passed} passed, ${sum.failed} failed${sum.skipped ? `, ${sum.skipped} skipped` : ''}`);
process.exitCode = sum.failed > 0 ? 1 : 0;
