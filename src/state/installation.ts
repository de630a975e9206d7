import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { programInterpreter } from '../system/elf.js';
import { makeDirectory } from '../system/files.js';
import type { Routing } from '../units/ip-filter.js';
import type { Installation, Renderer, Template } from '../units/render.js';
import { compileTemplate } from './template.js';

/** The directory that holds dist/ and templates/: where the running program is installed, or its source tree. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** An empty directory: the root directory of every forwarder, in which systemd makes the places for what it is shown. */
export const FORWARDER_ROOT = '/var/lib/wormhole/root';

/**
 * Where the running program is. Units name the `node` beside it, which install.sh links to the one it found, so that
 * they keep working when node moves.
 */
export function installation(): Installation {
  const own = `${ROOT}node`;
  const node = existsSync(own) ? own : process.execPath;
  const interpreter = programInterpreter(process.execPath);
  return {
    node,
    cli: `${ROOT}dist/cli/main.js`,
    forwarder: `${ROOT}dist/forwarder/main.js`,
    flags: [],
    rootDirectory: FORWARDER_ROOT,
    files: [
      node,
      ...(interpreter === undefined ? [] : [interpreter]),
      `${ROOT}dist/forwarder`,
      `${ROOT}package.json`,
      `-${ROOT}node_modules/koffi`,
      `-${ROOT}node_modules/@koromix`,
    ],
    libraries: libraryDirectories(),
  };
}

/** Makes {@link FORWARDER_ROOT}, without which no forwarder starts, with the directories that every service has. */
export function makeForwarderRoot(): void {
  for (const name of ['dev', 'proc', 'root', 'run', 'sys', 'tmp', 'var/tmp'])
    makeDirectory(`${FORWARDER_ROOT}/${name}`);
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
    routing: routing(),
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

/** The directories of the shared libraries that node itself has loaded, which is this process: what a new version of one keeps. */
function libraryDirectories(): string[] {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  const libraries = [...maps.matchAll(/^\S+ r-xp .*? (\/.*\.so(?:\.[\w.]+)*)$/gm)].map(([, path = '']) =>
    dirname(path),
  );
  return [...new Set(libraries)].sort();
}

function routing(): Routing {
  const directory = '/proc/sys/net/ipv4/conf';
  const routesLoopback = readdirSync(directory).some(
    (name) => readFileSync(`${directory}/${name}/route_localnet`, 'utf8').trim() === '1',
  );
  return { routesLoopback };
}
