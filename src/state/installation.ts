import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import type { Installation, Renderer, Template } from '../units/render.js';
import { compileTemplate } from './template.js';

/** The directory that holds dist/ and templates/: where the running program is installed, or its source tree. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Where the running program is. Units name the `node` beside it, which install.sh links to the one it found, so that
 * they keep working when node moves.
 */
export function installation(): Installation {
  const own = `${ROOT}node`;
  return {
    node: existsSync(own) ? own : process.execPath,
    cli: `${ROOT}dist/cli/main.js`,
    forwarder: `${ROOT}dist/forwarder/main.js`,
    flags: [],
  };
}

/** What the units of links are rendered with. */
export function linkRenderer(): Renderer {
  return {
    installation: installation(),
    templates: {
      socket: template('link.socket'),
      service: template('link.service'),
      run: template('link-run.service'),
    },
  };
}

/** The template of a tunnel's unit. */
export function tunnelTemplate(): Template {
  return template('tunnel.service');
}

function template(name: string): Template {
  return compileTemplate(readFileSync(`${ROOT}templates/${name}.hbs`, 'utf8'));
}

/** The version of the installed program, from its package.json. */
export function version(): string {
  return v.parse(v.object({ version: v.string() }), JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')))
    .version;
}
