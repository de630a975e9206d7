import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Host } from './rig/host.ts';

const src = fileURLToPath(new URL('../../src', import.meta.url));

const copies = new WeakMap<Host, Promise<string>>();

/** The path, on a host, of a CommonJS module that exports all that src/docker and src/docker-run export. */
export function dockerModule(host: Host): Promise<string> {
  const copy = copies.get(host) ?? copyDockerModule(host);
  copies.set(host, copy);
  return copy;
}

async function copyDockerModule(host: Host): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'wormhole-docker-'));
  try {
    const files = ['docker', 'docker-run'].flatMap((folder) =>
      readdirSync(join(src, folder)).map((file) => `export * from './${folder}/${file}';`),
    );
    await build({
      stdin: { contents: files.join('\n'), resolveDir: src },
      outfile: join(directory, 'docker.cjs'),
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'cjs',
      logLevel: 'warning',
    });
    await host.copyIn(join(directory, 'docker.cjs'), '/var/tmp');
  } finally {
    rmSync(directory, { recursive: true });
  }
  return '/var/tmp/docker.cjs';
}
