import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** What lab and virtual machines install and run: all of these tests are about it. */
const product = ['src/', 'templates/', 'units/', 'tmpfiles/', 'man/', 'install.sh'];

/**
 * Parts of the product that only some of those tests are about: where the file name begins with the first, those whose
 * text has the second.
 */
const parts: [string, RegExp][] = [
  ['src/docker/', /docker/i],
  ['src/ipsec/', /tunnel/i],
  ['src/tunnels/', /tunnel/i],
  ['templates/tunnel', /tunnel/i],
  ['units/wormhole-tunnel', /tunnel/i],
  ['man/', /\bman\b/],
];

/** What no test runs; a test that reads such a file names it. */
const read = /^(doc\/|test\/bench\/|test\/demo\.ts$|LICENSE$|\.gitignore$)|\.md$/;

/** What tests import. */
const imported = /^(src|test\/(unit|lab|ipsec))\//;

/** The names of files and folders of this repository in a text; on a host of the lab it is at /src/wormhole. */
const mention =
  /(?<![\w-])(?!src\/wormhole)((?:src|dist|templates|units|man|doc|test)\/[\w./-]*|install\.sh|README\.md|package\.json)/g;

/** The file that says where the built programs are, and what is used of it. */
const programs = 'test/programs.ts';
const program = /\bprograms\.(?!ts\b)(\w+)/g;

/** Files as a test sees them; paths are relative to the repository. */
export interface Files {
  /** The text of a file, undefined when it is none. */
  read(path: string): string | undefined;
  isDirectory(path: string): boolean;
}

/**
 * Returns those of the test files `tests` that can go otherwise than before after the files `changed` have: unit tests by
 * what they import and name, tests of lab and virtual machines by that and the product. All of them when a file is not
 * known to concern only some.
 */
export function affected(changed: string[], tests: string[], files: Files): string[] {
  const concerns = changed.filter((path) => !read.test(path));
  const known = (path: string) => imported.test(path) || product.some((start) => path.startsWith(start));
  if (!concerns.every(known)) return tests;
  return tests.filter((test) => {
    const needed = dependencies(test, files);
    const text = files.read(test) ?? '';
    const isUnit = test.startsWith('test/unit/');
    return changed.some((path) => {
      if ([...needed].some((need) => path === need || (need.endsWith('/') && path.startsWith(need))))
        return true;
      if (isUnit || !product.some((start) => path.startsWith(start))) return false;
      const part = parts.find(([start]) => path.startsWith(start));
      return !part || part[1].test(text);
    });
  });
}

/** Returns a test file, all files that it imports, and the files and folders (with a slash at their end) that those name. */
function dependencies(test: string, files: Files): Set<string> {
  const found = new Set<string>();
  const visit = (path: string) => {
    if (found.has(path)) return;
    found.add(path);
    const text = files.read(path);
    if (text === undefined || !/\.ts$/.test(path)) return;
    for (const [, to = ''] of text.matchAll(/(?:from|import) ?\(?['"](\.[^'"]+)['"]/g))
      visit(normalize(join(dirname(path), to)).replace(/\.js$/, '.ts'));
    if (path === programs) return;
    for (const [, name = ''] of text.matchAll(mention)) visit(source(name, files));
    for (const [, name] of text.matchAll(program)) visit(name === 'forwarder' ? 'src/forwarder/' : 'src/');
  };
  visit(test);
  return found;
}

/** Returns what a compiled file is compiled from, as far as that can be told; and a folder with a slash at its end. */
function source(name: string, files: Files): string {
  const path = name.replace(/^dist\//, 'src/').replace(/\.js$/, '.ts');
  const candidates = [path, path.replace(/\.[a-z]+$/, '')];
  for (const candidate of candidates) {
    if (files.isDirectory(candidate)) return candidate.replace(/\/?$/, '/');
    if (files.read(candidate) !== undefined) return candidate;
  }
  return path.startsWith('src/') ? 'src/' : path.replace(/[^/]*$/, '') || path;
}

/** The files of the repository `root` on its disk. */
export function filesOf(root: string): Files {
  const texts = new Map<string, string | undefined>();
  const isDirectory = (path: string) =>
    existsSync(join(root, path)) && statSync(join(root, path)).isDirectory();
  return {
    isDirectory,
    read(path) {
      if (!texts.has(path)) {
        const isFile = existsSync(join(root, path)) && !isDirectory(path);
        texts.set(path, isFile ? readFileSync(join(root, path), 'utf8') : undefined);
      }
      return texts.get(path);
    },
  };
}

/**
 * Returns the files that differ from the commit `base`, those that git does not know yet included. Default: from where
 * this branch has left `main`; on `main` itself, from its last commit. Undefined when git does not know `base`.
 */
export function changedFiles(root: string, base?: string): { base: string; files: string[] } | undefined {
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
  const lines = (text: string) => text.split('\n').filter((line) => line !== '');
  const [since] = attempt(() => git('rev-parse', '--short', '--verify', `${base ?? forkOf(git)}^{commit}`));
  if (!since) return undefined;
  return {
    base: since,
    files: [
      ...lines(git('diff', '--name-only', '--no-renames', since)),
      ...lines(git('ls-files', '--others', '--exclude-standard')),
    ],
  };
}

/** Returns the last commit that this branch has in common with `main`, if there is such a branch here or at the origin. */
function forkOf(git: (...args: string[]) => string): string {
  const forks = ['main', 'origin/main'].flatMap((main) => attempt(() => git('merge-base', 'HEAD', main)));
  return forks[0] ?? 'HEAD';
}

/** Returns what a command prints, and nothing when it fails. */
function attempt(command: () => string): string[] {
  try {
    return [command()];
  } catch {
    return [];
  }
}
