import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compileTemplates, type Installation, type Templates } from '../units/render.js';

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

/** The templates of the installed program. */
export function templates(): Templates {
  const source = (name: string) => readFileSync(`${ROOT}templates/${name}.hbs`, 'utf8');
  return compileTemplates({
    socket: source('link.socket'),
    service: source('link.service'),
    run: source('link-run.service'),
  });
}

/** The version of the installed program, from its package.json. */
export function version(): string {
  return JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')).version;
}
