import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import * as esbuild from 'esbuild';
import pLimit from 'p-limit';
import { parseOptions } from '../options.ts';
import { newerLibc } from './newer-libc.ts';
import { targets } from './targets.ts';

/*
 * npm run fuzz -- [TARGET...] [--runs N]
 *
 * Feeds the readers of targets.ts with inputs that Jazzer.js (libFuzzer) makes, guided by the branches that each input takes. An
 * input that breaks a promise is kept in test/fuzz/failed, where a unit test finds it.
 */

const { values, positionals } = parseOptions('fuzz', {
  options: { runs: { type: 'string', default: '10000000' } },
  allowPositionals: true,
});
const unknown = positionals.find((name) => !Object.hasOwn(targets, name));
if (unknown !== undefined || !/^[1-9]\d*$/.test(values.runs)) {
  const what = unknown === undefined ? `--runs "${values.runs}" is no number` : `no target "${unknown}"`;
  console.error(`npm run fuzz: ${what}; the targets are ${Object.keys(targets).join(', ')}`);
  process.exit(2);
}
const names = positionals.length > 0 ? positionals : Object.keys(targets);

const directory = mkdtempSync(join(tmpdir(), 'wormhole-fuzz-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));

await esbuild.build({
  entryPoints: [join(import.meta.dirname, 'targets.ts')],
  outfile: join(directory, 'targets.cjs'),
  bundle: true,
  platform: 'node',
  format: 'cjs',
  // Its addon is found beside it.
  external: ['koffi'],
  define: { 'import.meta.dirname': '__dirname' },
  logLevel: 'error',
});

/** An input that takes longer counts as one that does not end, ms. The clock also runs while a busy machine lets the fuzzer wait. */
const LONGEST_RUN_MS = 60_000;

const loader = await newerLibc();
const limit = pLimit(availableParallelism());
const results = await Promise.all(names.map((name) => limit(() => fuzz(name))));
process.exitCode = results.every(Boolean) ? 0 : 1;

/** Returns whether all inputs were read as promised. */
async function fuzz(name: string): Promise<boolean> {
  const target = targets[name];
  if (target === undefined) return false;
  const place = join(directory, name);
  const [corpus, artefacts] = [join(place, 'corpus'), join(place, 'failed')];
  for (const path of [corpus, artefacts]) mkdirSync(path, { recursive: true });
  for (const [index, example] of target.examples.entries())
    writeFileSync(join(corpus, `${index}`), Buffer.from(example, 'latin1'));
  writeFileSync(join(place, 'words'), target.words.map((word) => `"${dictionaryWord(word)}"\n`).join(''));
  // Jazzer.js wants a module of one function called fuzz. To note where each refusal was thrown would take most of the time; the unit
  // test that reads an input which has failed tells it.
  writeFileSync(
    join(place, 'target.cjs'),
    `Error.stackTraceLimit = 0; const { targets } = require('../targets.cjs'); exports.fuzz = (input) => targets[${JSON.stringify(name)}].run(input);\n`,
  );
  const jazzer = createRequire(import.meta.url).resolve('@jazzer.js/core/dist/cli.js');
  const [program = '', ...args] = [
    ...loader,
    ...[process.execPath, jazzer, join(place, 'target.cjs'), corpus],
    ...[
      '--sync',
      '--disable_bug_detectors=.*',
      '--includes=targets.cjs',
      `--timeout=${LONGEST_RUN_MS}`,
      '--',
    ],
    ...[
      `-runs=${values.runs}`,
      `-timeout=${LONGEST_RUN_MS / 1000}`,
      // By default it keeps what has taken 10 s, which would count as failed.
      `-report_slow_units=${LONGEST_RUN_MS / 1000}`,
      `-max_len=${target.longest ?? 4096}`,
      '-len_control=0',
    ],
    ...[`-dict=${join(place, 'words')}`, `-artifact_prefix=${artefacts}/`, '-print_final_stats=1'],
  ];
  const child = spawn(program, args, {
    cwd: place,
    env: { ...process.env, NODE_PATH: join(import.meta.dirname, '../../node_modules') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kill = () => child.kill('SIGKILL');
  process.on('exit', kill);
  const began = performance.now();
  const tail: string[] = [];
  let branches = '';
  let done: string | undefined;
  for (const output of [child.stdout, child.stderr])
    createInterface(output).on('line', (line) => {
      branches = /\bcov: (\d+)/.exec(line)?.[1] ?? branches;
      done = /^#(\d+)\s+DONE\b/.exec(line)?.[1] ?? done;
      if (!/^#|^INFO|^Skip|# Uses: \d+$/.test(line)) tail.push(line);
    });
  const [status, signal] = await once(child, 'close');
  process.off('exit', kill);
  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  // Its exit status is not asked: libFuzzer may crash while it prints the words that it has learnt.
  if (done !== undefined && readdirSync(artefacts).length === 0) {
    console.log(
      `${name}: ${Number(done).toLocaleString('en')} inputs, ${branches} branches, ${seconds} s, none failed`,
    );
    return true;
  }
  console.log(
    `${name}: FAILED (${status ?? signal}) after ${done === undefined ? 'fewer inputs' : `all ${done} inputs`}\n${tail.slice(-25).join('\n')}`,
  );
  keep(name, artefacts);
  return false;
}

/** Keeps the inputs that have failed. */
function keep(name: string, artefacts: string): void {
  const failed = join(import.meta.dirname, 'failed', name);
  for (const file of existsSync(artefacts) ? readdirSync(artefacts) : []) {
    mkdirSync(failed, { recursive: true });
    renameSync(join(artefacts, file), join(failed, file));
    console.log(`${name}: the input is kept in ${join(failed, file)}`);
  }
}

/** A word as a dictionary of libFuzzer has it. */
function dictionaryWord(word: string): string {
  return [...Buffer.from(word)]
    .map((byte) =>
      byte > 32 && byte < 127 && byte !== 34 && byte !== 92
        ? String.fromCharCode(byte)
        : `\\x${byte.toString(16).padStart(2, '0')}`,
    )
    .join('');
}
