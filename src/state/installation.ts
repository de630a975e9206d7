import { existsSync } from 'node:fs';
import { join } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import type { Installation, Renderer, Template } from '../units/render.js';

/** The directory of the programs. Each is one file, so it is that of the running one. */
const PROGRAMS = import.meta.dirname;

/**
 * Where the running program is. Units name the `node` beside it, which install.sh links to the one it found, so that
 * they keep working when node moves.
 */
export function installation(): Installation {
  const own = join(PROGRAMS, '../node');
  return {
    node: existsSync(own) ? own : process.execPath,
    cli: join(PROGRAMS, 'wormhole.cjs'),
    forwarder: join(PROGRAMS, 'forwarder.cjs'),
    flags: [],
  };
}

/** What the units of links are rendered with. */
export async function linkRenderer(): Promise<Renderer> {
  const { linkTemplates } = await import('./templates.js');
  return { installation: installation(), templates: linkTemplates };
}

/** The template of a tunnel's unit. */
export async function tunnelTemplate(): Promise<Template> {
  return (await import('./templates.js')).tunnelTemplate;
}

/** The version of the program. */
export function version(): string {
  return packageJson.version;
}
