import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compileTemplates, type Installation, type Template, type Templates } from '../units/render.js';
import { compileTunnelTemplate } from '../units/tunnel.js';

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

/** The templates of a link's units. */
export function templates(): Templates {
  return compileTemplates({
    socket: source('link.socket'),
    service: source('link.service'),
    run: source('link-run.service'),
  });
}

/** The template of a tunnel's unit. */
export function tunnelTemplate(): Template {
  return compileTunnelTemplate(source('tunnel.service'));
}

function source(name: string): string {
  return readFileSync(`${ROOT}templates/${name}.hbs`, 'utf8');
}

/** The version of the installed program, from its package.json. */
export function version(): string {
  return JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')).version;
}
