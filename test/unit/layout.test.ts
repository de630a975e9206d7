import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

/* Where the files of src may import from: downwards only, and never in a circle, type imports included. */

const SRC = new URL('../../src/', import.meta.url).pathname;

/** The folders, the upper ones first. A file imports from its own folder and from those below it. */
const layers = [
  'cli',
  'web',
  'daemon',
  'doctor',
  'names',
  'links',
  'tunnels',
  'api',
  'registry',
  'state',
  'units',
  'ipsec',
  'docker',
  'systemd',
  'recipe',
  'docker-run',
  'text',
  'system',
];

/** Folders that import from themselves and nowhere else, and that nothing else imports. */
const apart = ['forwarder'];

/** Folders that do no I/O, and the modules of Node that do none either. */
const pure = ['recipe', 'docker-run', 'units', 'text'];
const harmless = ['node:crypto', 'node:net', 'node:path', 'node:url', 'node:util', 'node:assert'];

interface Import {
  /** The importing file, such as `cli/main.ts`. */
  file: string;
  /** What it says: `../links/create.js`, `node:fs`. */
  specifier: string;
  /** The imported file; undefined for a package, a module of Node, and what the build turns into code. */
  target: string | undefined;
}

/** What the build turns into code: the templates of units, and the version. */
const generated = /^\.\.\/\.\.\/(?:templates\/[^/]+\.hbs|package\.json)$/;

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));

const imports = files.flatMap((file): Import[] => {
  const text = readFileSync(join(SRC, file), 'utf8');
  return [...text.matchAll(/(?:\bfrom|\bimport) ?\(?\s*'([^']+)'/g)].map(([, specifier = '']) => ({
    file,
    specifier,
    target:
      specifier.startsWith('.') && !generated.test(specifier)
        ? normalize(join(dirname(file), specifier)).replace(/\.js$/, '.ts')
        : undefined,
  }));
});

const folderOf = (file: string): string => file.split('/')[0] ?? '';

test('the test sees the files and their imports', () => {
  const folders = readdirSync(SRC).sort();
  assert.equal(folders, [...layers, ...apart].sort());
  assert.ok(imports.length > 500, `${imports.length} imports`);
  for (const { file, target } of imports)
    if (target !== undefined)
      assert.ok(files.includes(target), `${file} imports ${target}, which is not there`);
});

test('folders import from folders below them', () => {
  const wrong = imports.filter(({ file, target }) => {
    const [from, to] = [folderOf(file), folderOf(target ?? file)];
    if (from === to) return false;
    return apart.includes(from) || apart.includes(to) || layers.indexOf(from) > layers.indexOf(to);
  });
  assert.equal(
    wrong.map(({ file, target }) => `${file} -> ${target}`),
    [],
  );
});

test('files do not import each other in a circle', () => {
  assert.equal(circles(), []);
});

test('pure folders do not touch the machine', () => {
  for (const { file, specifier } of imports.filter(({ file }) => pure.includes(folderOf(file)))) {
    const builtin = specifier.startsWith('node:') || builtinModules.includes(specifier);
    assert.not.ok(builtin && !harmless.includes(specifier), `${file} imports ${specifier}`);
  }
});

/** The files of each circle: the strongly connected components of more than one file (Tarjan). */
function circles(): string[][] {
  const targets = new Map(files.map((file) => [file, [] as string[]]));
  for (const { file, target } of imports) if (target !== undefined) targets.get(file)?.push(target);
  const found: string[][] = [];
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const visit = (file: string): void => {
    index.set(file, index.size);
    low.set(file, index.get(file) as number);
    stack.push(file);
    for (const target of targets.get(file) ?? []) {
      if (!index.has(target)) visit(target);
      else if (!stack.includes(target)) continue;
      low.set(file, Math.min(low.get(file) as number, low.get(target) as number));
    }
    if (low.get(file) !== index.get(file)) return;
    const component = stack.splice(stack.indexOf(file));
    if (component.length > 1) found.push(component.sort());
  };
  for (const file of files) if (!index.has(file)) visit(file);
  return found;
}

test.run();
