import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A folder of src whose mutants the unit tests have to tell from the original. */
export interface Subject {
  /** Beginnings of the names of these tests in test/unit, those that are likely to fail soonest first. */
  tests: string[];
  /** Whether each file is a process of its own, since it changes what is global. */
  apart?: boolean;
  /** Whether the tests start the compiled programs, which then have to be built from the mutants. */
  runsPrograms?: boolean;
  /** A command that runs the tests, in which two of them at a time do not meet. */
  wrapper?: string;
}

/** The subjects by the name of their folder. */
export const subjects: Record<string, Subject> = {
  recipe: {
    tests: [
      'recipe-parse',
      'recipe-errors',
      'recipe-parts',
      'recipe-duration',
      'recipe-tails',
      'unit-files',
      'names',
      'examples',
    ],
  },
  units: {
    tests: [
      'unit-files',
      'recipe-tails',
      'escape',
      'names',
      'ip-filter',
      'change',
      'upgrade',
      'tunnel-unit',
      'unit-',
      'render',
    ],
  },
  ipsec: { tests: ['ipsec-', 'tunnels-hellos'], wrapper: 'unshare --net' },
  api: { tests: ['api-bodies', 'api-schema', 'key', 'api-'], apart: true },
  forwarder: { tests: ['forwarder-'], runsPrograms: true },
};

const unit = fileURLToPath(new URL('../unit', import.meta.url));

/** Where the bundled tests are. They find other files from there as from test/unit. */
export const bundles = join(unit, '.mutated');

/**
 * The subject of a folder.
 *
 * @param tests beginnings of the names of other tests than its own, separated by commas; '' for its own
 * @throws Error that names the folders there are
 */
export function subjectOf(folder: string, tests: string): Subject {
  const subject = subjects[folder];
  if (subject === undefined)
    throw new Error(`there is no subject "${folder}": there are ${Object.keys(subjects).join(', ')}`);
  return tests === '' ? subject : { ...subject, tests: tests.split(',') };
}

/** The test files of a subject, in the order in which they run. */
export function testsOf({ tests }: Subject): string[] {
  const files = readdirSync(unit).filter((name) => name.endsWith('.test.ts'));
  return [...new Set(tests.flatMap((start) => files.filter((name) => name.startsWith(start))))];
}

/** The command that runs the bundled tests of a subject, up to the first that fails. */
export function commandOf(subject: Subject): string {
  const isMany = subject.apart || subject.runsPrograms;
  const files = isMany ? testsOf(subject).map((name) => name.replace(/\.ts$/, '.mjs')) : ['all.test.mjs'];
  const node = `${subject.wrapper ?? ''} node`.trim();
  return files.map((name) => `${node} test/unit/.mutated/${name}`).join(' && ');
}
