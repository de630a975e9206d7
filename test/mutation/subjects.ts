import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Files of src whose mutants the unit tests have to tell from the original. */
export interface Subject {
  /** Where they are below src, if not in the folder that is named like the subject. */
  folder?: string;
  /** Which of them, as a pattern; default all. The tests of the others need systemd, Docker or a kernel of their own: the lab has these. */
  files?: string;
  /** Beginnings of the names of these tests in test/unit, those that are likely to fail soonest first. */
  tests: string[];
  /** Whether each file is a process of its own, since it changes what is global. */
  apart?: boolean;
  /** Whether the tests start the compiled programs, which then have to be built from the mutants. */
  runsPrograms?: boolean;
  /** A command that runs the tests, in which two of them at a time do not meet. */
  wrapper?: string;
}

/** The subjects by name. */
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
      'file-syntax',
      'label',
      'declared-',
      'plan',
      'reserved-ids',
    ],
  },
  ipsec: { tests: ['ipsec-', 'tunnels-hellos'], wrapper: 'unshare --net' },
  api: { tests: ['api-bodies', 'api-schema', 'key', 'api-'], apart: true },
  registry: { tests: ['services', 'registry-'] },
  tunnels: {
    files: '{addresses,hellos,known-tunnels,rivals,settings,unit}.ts',
    tests: ['tunnels-', 'tunnel-unit', 'api-schema', 'ipsec-order'],
  },
  declared: {
    folder: 'links/declared',
    files: '{drop-ins,export,files,text}.ts',
    tests: ['declared-', 'file-syntax', 'label'],
  },
  forwarder: {
    files: `{${[
      ...[
        'timers',
        'address',
        'rate',
        'options',
        'named-targets',
        'name-file',
        'scheduler',
        'sources',
        'counters',
      ],
      ...['status', 'idle', 'dial-failure', 'far-failure', 'access', 'store/memory'],
      ...['udp/{runs,control}', 'hand-off/proxy-info', 'balance/{pick,tail,options,tail-sources}'],
      ...['proxy-protocol/{crc32c,endpoints,format,layout,networks,parse}'],
    ].join()}}.ts`,
    tests: [
      ...[
        'timers',
        'address',
        'rate',
        'options',
        'named-targets',
        'scheduler',
        'sources',
        'pick',
        'failures',
      ],
      ...['notes', 'figures', 'proxy-parse'],
    ].map((name) => `forwarder-${name}`),
  },
  programs: { folder: 'forwarder', tests: ['forwarder-'], runsPrograms: true },
};

/** The files of a subject as a pattern of Stryker's. @param files some of them, as a pattern; '' for all */
export function filesOf(name: string, subject: Subject, files: string): string {
  return `src/${subject.folder ?? name}/${files || (subject.files ?? '**/*.ts')}`;
}

const unit = fileURLToPath(new URL('../unit', import.meta.url));

/** Where the bundled tests are. They find other files from there as from test/unit. */
export const bundles = join(unit, '.mutated');

/**
 * The subject of a name.
 *
 * @param tests beginnings of the names of other tests than its own, separated by commas; '' for its own
 * @throws Error that names the subjects there are
 */
export function subjectOf(name: string, tests: string): Subject {
  const subject = subjects[name];
  if (subject === undefined)
    throw new Error(`there is no subject "${name}": there are ${Object.keys(subjects).join(', ')}`);
  return tests === '' ? subject : { ...subject, tests: tests.split(',') };
}

/** The test files of a subject, in the order in which they run. */
export function testsOf({ tests }: Subject): string[] {
  const files = readdirSync(unit).filter((name) => name.endsWith('.test.ts'));
  return [...new Set(tests.flatMap((start) => files.filter((name) => name.startsWith(start))))];
}

/** Whether the tests of a subject need a process for each mutant, or several. */
export function needsProcesses({ apart, runsPrograms, wrapper }: Subject): boolean {
  return apart === true || runsPrograms === true || wrapper !== undefined;
}

/** The command that runs the bundled tests of a subject, up to the first that fails. */
export function commandOf(subject: Subject): string {
  const isMany = subject.apart || subject.runsPrograms;
  const files = isMany ? testsOf(subject).map((name) => name.replace(/\.ts$/, '.mjs')) : ['all.test.mjs'];
  const node = `${subject.wrapper ?? ''} node`.trim();
  return files.map((name) => `${node} test/unit/.mutated/${name}`).join(' && ');
}
