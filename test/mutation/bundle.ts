// node --import tsx test/mutation/bundle.ts SUBJECT [TESTS]: bundles the unit tests of a subject, which start faster so.
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as esbuild from 'esbuild';
import { build } from '../../build/build.ts';
import { compiledTemplates } from '../../build/templates.ts';
import { bundles, subjectOf, testsOf } from './subjects.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const unit = join(root, 'test/unit');

/** At most this many cases of a property, always the same: thousands of mutants are to be tried, each under the same conditions. */
const CASES = 30;

const fewerCases = `
import fc from 'fast-check';
export default { ...fc, assert: (property, options) =>
  fc.assert(property, { ...options, seed: 1, numRuns: Math.min(options?.numRuns ?? 100, ${CASES}) }) };`;

/** Files know where they are, as they do without being bundled. */
const ownPaths: esbuild.Plugin = {
  name: 'own-paths',
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^fast-check$/ }, ({ namespace }) =>
      namespace === 'fewer-cases'
        ? { path: 'fast-check', external: true }
        : { path: 'fast-check', namespace: 'fewer-cases' },
    );
    onLoad({ filter: /.*/, namespace: 'fewer-cases' }, () => ({ contents: fewerCases, resolveDir: root }));
    onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      loader: 'ts',
      contents: readFileSync(path, 'utf8').replaceAll(
        /\bimport\.meta\.url\b/g,
        JSON.stringify(pathToFileURL(path).href),
      ),
    }));
  },
};

/** Bundles test files into one module. */
async function bundle(files: string[], outfile: string): Promise<void> {
  await esbuild.build({
    stdin: {
      contents: files.map((name) => `import './${name}';`).join('\n'),
      resolveDir: unit,
      loader: 'ts',
    },
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    // The suites are run by the one uvu that runAll imports, and addons cannot be bundled.
    external: ['koffi', 'uvu', 'uvu/*', 'esbuild', 'dockerode', 'dbus-next'],
    plugins: [compiledTemplates, ownPaths],
    logLevel: 'warning',
  });
}

/** Runs all suites of a module, up to the first failure. */
const runAll = `
globalThis.UVU_DEFER = 1;
const { exec } = await import('uvu');
globalThis.UVU_QUEUE = [[null]];
await import('./tests.mjs');
await exec(true);
`;

/** Builds dist from the mutants. Stryker links the packages into its copy of the repository only after this program. */
async function buildPrograms(): Promise<void> {
  const packages = join(root, 'node_modules');
  const isMissing = !existsSync(packages);
  if (isMissing) symlinkSync(join(root, '../../node_modules'), packages);
  await build(root, join(root, 'dist'));
  if (isMissing) rmSync(packages);
}

const [name = '', tests = ''] = process.argv.slice(2);
const subject = subjectOf(name, tests);
if (subject.runsPrograms) await buildPrograms();
rmSync(bundles, { recursive: true, force: true });
mkdirSync(bundles, { recursive: true });
const files = testsOf(subject);
if (subject.runsPrograms || subject.apart)
  for (const file of files) await bundle([file], join(bundles, file.replace(/\.ts$/, '.mjs')));
else {
  await bundle(files, join(bundles, 'tests.mjs'));
  writeFileSync(join(bundles, 'all.test.mjs'), runAll);
}
