import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const SRC = new URL('../../src/', import.meta.url).pathname;

/** What each folder may import from beside itself: the directions of the design. */
const allowed: Record<string, string[]> = {
  cli: ['control', 'units', 'systemd', 'docker', 'recipe'],
  control: ['units', 'systemd', 'docker', 'ipsec', 'recipe'],
  units: ['recipe'],
  systemd: ['recipe'],
  docker: ['recipe'],
  ipsec: ['recipe'],
  recipe: [],
  forwarder: [],
};

/** Folders that hold no I/O, and the modules of node that do none. */
const pure = ['recipe', 'units'];
const harmless = ['node:net', 'node:path', 'node:url', 'node:assert'];

const imports = Object.keys(allowed).flatMap((folder) =>
  sources(folder).flatMap((file) => {
    const text = readFileSync(join(SRC, folder, file), 'utf8');
    return [...text.matchAll(/(?:from|import) ?\(?'([^']+)'/g)].map(([, to]) => ({
      folder,
      file,
      to: to as string,
    }));
  }),
);

function sources(folder: string): string[] {
  return readdirSync(join(SRC, folder), { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
}

test('every folder of src has its directions written down', () => {
  assert.equal(readdirSync(SRC).sort(), Object.keys(allowed).sort());
});

test('imports go in the directions of the design', () => {
  assert.ok(imports.length > 50, 'the test has lost sight of the imports');
  for (const { folder, file, to } of imports.filter(({ to }) => to.startsWith('.'))) {
    const [target = ''] = normalize(join(folder, dirname(file), to)).split('/');
    assert.ok(target === folder || allowed[folder]?.includes(target), `${folder}/${file} imports ${to}`);
  }
});

test('pure folders do not touch the machine', () => {
  for (const { folder, file, to } of imports.filter(({ folder }) => pure.includes(folder))) {
    const builtin = to.startsWith('node:') || builtinModules.includes(to);
    assert.not.ok(builtin && !harmless.includes(to), `${folder}/${file} imports ${to}`);
  }
});

test.run();
