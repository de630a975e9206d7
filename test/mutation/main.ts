// npm run mutate -- [--survivors] [--tests=NAME,...] SUBJECT[/FILES]...: what part of all small changes of the source the unit tests notice.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Stryker } from '@stryker-mutator/core';
import * as esbuild from 'esbuild';
import { parseOptions } from '../options.ts';
import { keep, type Mutant, readReport, survivorsOf } from './report.ts';
import { commandOf, filesOf, needsProcesses, subjectOf, subjects } from './subjects.ts';

const { values, positionals: words } = parseOptions('mutate', {
  options: { survivors: { type: 'boolean', default: false }, tests: { type: 'string', default: '' } },
  allowPositionals: true,
});
const { survivors: again, tests } = values;
const unknown = words
  .map((word) => word.split('/', 1)[0] ?? '')
  .find((name) => !Object.hasOwn(subjects, name));
if (unknown !== undefined) {
  console.error(`npm run mutate: no subject "${unknown}"; there is ${Object.keys(subjects).join(', ')}`);
  process.exit(2);
}
process.chdir(fileURLToPath(new URL('../..', import.meta.url)));

/** Compiles a module beside this one, which Stryker's processes load without tsx. Returns its URL. */
async function compiled(name: string): Promise<string> {
  const outfile = join(process.cwd(), `reports/mutation/${name}.mjs`);
  await esbuild.build({ entryPoints: [join(import.meta.dirname, `${name}.ts`)], outfile, format: 'esm' });
  return pathToFileURL(outfile).href;
}

/**
 * Runs Stryker on files of a subject, or parts of them, and returns their mutants.
 *
 * @param mutate patterns, as Stryker has them: a path, with `:LINE:COLUMN-LINE:COLUMN` behind it or without
 */
async function measure(subject: string, mutate: string[]): Promise<Mutant[]> {
  const fileName = `reports/mutation/${subject}.latest.json`;
  const known = subjectOf(subject, tests);
  const runner = needsProcesses(known)
    ? { testRunner: 'command', commandRunner: { command: commandOf(known) } }
    : {
        testRunner: 'in-process',
        plugins: [await compiled('in-process')],
        // Every load of the tests stays in memory.
        maxTestRunnerReuse: 100,
      };
  await new Stryker({
    mutate,
    ...runner,
    coverageAnalysis: 'off',
    buildCommand: `node --import tsx test/mutation/bundle.ts ${subject} ${tests}`,
    concurrency: 2,
    inPlace: false,
    tempDirName: '.stryker-tmp',
    ignorePatterns: ['dist', 'reports', 'test/lab', 'test/ipsec', 'test/bench'],
    reporters: ['json', 'progress-append-only'],
    jsonReporter: { fileName },
    allowConsoleColors: false,
    // What takes this much longer than all tests together runs in a circle. The machine may be busy with other work.
    timeoutMS: 10_000,
    timeoutFactor: 3,
    disableTypeChecks: 'src/**/*.ts',
    // It would read tsconfig.json with the compiler's former API, which TypeScript 7 does not have. Nothing here needs that file.
    tsconfigFile: 'none',
  }).runMutationTest();
  return readReport(fileName);
}

/** A mutant for people: where it is, and what it makes of the source. */
function describe({ file, location: { start, end }, replacement }: Mutant): string {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .slice(start.line - 1, end.line);
  const first = lines[0] ?? '';
  const original =
    lines.length > 1 ? `${first.slice(start.column - 1)} …` : first.slice(start.column - 1, end.column - 1);
  return `${file}:${start.line}:${start.column}: ${original.trim()} -> ${replacement.replaceAll(/\s+/g, ' ')}`;
}

const scores: string[] = [];
for (const word of words.length > 0 ? words : Object.keys(subjects)) {
  const [subject = '', ...rest] = word.split('/');
  const mutate = again ? survivorsOf(subject) : [filesOf(subject, subjectOf(subject, tests), rest.join('/'))];
  const mutants =
    mutate.length === 0 ? [] : keep(subject, await measure(subject, mutate), again || rest.length > 0);
  const count = (status: string) => mutants.filter((mutant) => mutant.status === status).length;
  const [killed, ended, missed] = [count('Killed'), count('Timeout'), count('Survived')];
  for (const mutant of mutants) if (mutant.status === 'Survived') console.log(describe(mutant));
  const percent = ((100 * (killed + ended)) / (killed + ended + missed)).toFixed(1);
  scores.push(`${word}: ${percent} %: ${killed} killed, ${ended} did not end, ${missed} survived`);
}
console.log(scores.join('\n'));
