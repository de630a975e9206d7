import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import * as esbuild from 'esbuild';
import { addonPath, koffiAddon } from './koffi.ts';
import { thirdPartyLicenses } from './licenses.ts';
import { compiledTemplates } from './templates.ts';

/** The programs, each one file: its name in dist, and where its source begins. */
const programs = {
  wormhole: 'src/cli/main.ts',
  wormholed: 'src/cli/wormholed.ts',
  forwarder: 'src/forwarder/main.ts',
  start: 'src/cli/start.ts',
};

/**
 * What the units of links start that an earlier version has created: they work on after an upgrade. The package.json says that
 * these files are CommonJS, wherever dist is.
 */
const formerPaths = {
  'package.json': '{ "type": "commonjs" }\n',
  'cli/main.js': "require('../wormhole.cjs');\n",
  'forwarder/main.js': "require('../forwarder.cjs');\n",
};

/**
 * Builds everything that install.sh installs below dist, without checking types.
 *
 * Each program is one CommonJS file of ASCII characters, which starts faster than its modules would and needs no node_modules;
 * its last line is a digest of the others, for start.cjs. Beside it is a source map. What a program imports with `import()` is
 * evaluated when it is first needed. The files depend on the sources and the packages alone: two builds of one commit are the
 * same, wherever they are made.
 *
 * @param root the repository
 * @param out the directory to write to; what else is there is removed, except for names that begin with a dot. The files have
 *   the time when the build began: a source that is newer is not in them
 * @throws Error when a source does not compile, or a package has no licence
 */
export async function build(root: string, out: string): Promise<void> {
  const began = new Date();
  const page = await buildPage(root);
  const { outputFiles, metafile } = await esbuild.build({
    absWorkingDir: root,
    entryPoints: Object.entries(programs).map(([name, path]) => ({ in: path, out: name })),
    // Names the output only: nothing is written.
    outdir: 'dist',
    outExtension: { '.js': '.cjs' },
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    // CommonJS has no import.meta. A program asks where its own file is.
    define: { 'import.meta.dirname': '__dirname' },
    inject: ['build/stack-trace.ts'],
    plugins: [koffiAddon, compiledTemplates],
    // dbus-next would find a session bus through x11, and debug the colours of a terminal; neither is asked to.
    alias: { x11: './build/unused/empty.cjs', 'supports-color': './build/unused/empty.cjs' },
    legalComments: 'none',
    // Names stay, and so do lines: node prints the line of a crash.
    minifySyntax: true,
    minifyWhitespace: true,
    lineLimit: 120,
    sourcemap: 'external',
    sourcesContent: false,
    metafile: true,
    logLevel: 'warning',
  });
  const files = new Map<string, string | Uint8Array>(Object.entries(formerPaths));
  for (const { path, contents } of outputFiles)
    files.set(basename(path), path.endsWith('.cjs') ? withDigest(contents) : contents);
  for (const { path, contents } of page.outputFiles) files.set(`web/${basename(path)}`, contents);
  for (const name of ['index.html', 'icon.svg'])
    files.set(`web/${name}`, readFileSync(join(root, 'src/web/page', name)));
  files.set('koffi.node', readFileSync(addonPath()));
  // Written last: a build that is killed leaves an old one, which tells install.sh and the tests.
  files.set(
    'THIRD-PARTY-LICENSES',
    thirdPartyLicenses(
      root,
      [metafile, page.metafile].flatMap(({ inputs }) => Object.keys(inputs)),
    ),
  );
  writeTree(out, files, began);
}

/** A program with a digest of it in its last line. Throws when start.cjs could not run it. */
function withDigest(program: Uint8Array): string {
  const text = Buffer.from(program).toString();
  const other = /[^\0-\x7f]/.exec(text);
  if (other) throw new Error(`a program has "${other[0]}" in it: write it with an escape sequence`);
  const [dynamic] = /\bimport\("[^"]*"\)/.exec(text) ?? [];
  if (dynamic)
    throw new Error(`a program has ${dynamic} in it, which start.cjs does not offer: import it at the top`);
  return `${text}//${createHash('sha256').update(text).digest('hex')}\n`;
}

/** The script and the style of the page that `wormhole web` opens: one file each, for a browser. */
function buildPage(root: string) {
  return esbuild.build({
    absWorkingDir: root,
    entryPoints: [
      { in: 'src/web/page/main.ts', out: 'page' },
      { in: 'src/web/page/page.css', out: 'page' },
    ],
    outdir: 'dist/web',
    write: false,
    bundle: true,
    platform: 'browser',
    target: ['chrome110', 'firefox115', 'safari16'],
    format: 'iife',
    legalComments: 'none',
    minify: true,
    metafile: true,
    logLevel: 'warning',
  });
}

/** Makes a directory hold these files and no others. Each has its new text or its old one, also while others read it. */
function writeTree(directory: string, files: Map<string, string | Uint8Array>, time: Date): void {
  for (const [name, contents] of files) {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.new`);
    writeFileSync(temporary, contents);
    utimesSync(temporary, time, time);
    renameSync(temporary, path);
  }
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const isWanted = files.has(name) || [...files.keys()].some((file) => file.startsWith(`${name}/`));
    if (!isWanted && !basename(name).startsWith('.'))
      rmSync(join(directory, name), { recursive: true, force: true });
  }
}
