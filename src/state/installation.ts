import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import { programInterpreter } from '../system/elf.js';
import { makeDirectory, readIfExists } from '../system/files.js';
import { systemdVersion } from '../systemd/systemd.js';
import { parseHosts } from '../text/hosts.js';
import { isAlwaysPresent } from '../text/ip-address.js';
import type { Routing } from '../units/ip-filter.js';
import type { Installation, Renderer, Template } from '../units/render.js';

/** The directory of the programs. Each is one file, so it is that of the running one. */
const PROGRAMS = import.meta.dirname;

/** An empty directory: the root directory of every forwarder, in which systemd makes the places for what it is shown. */
export const FORWARDER_ROOT = '/var/lib/wormhole/root';

/**
 * Where the running program is. Units name the `node` beside it, which install.sh links to the one it found, so that
 * they keep working when node moves.
 */
export function installation(): Installation {
  const own = join(PROGRAMS, '../node');
  const node = existsSync(own) ? own : process.execPath;
  const interpreter = programInterpreter(process.execPath);
  return {
    node,
    cli: join(PROGRAMS, 'wormhole.cjs'),
    forwarder: join(PROGRAMS, 'forwarder.cjs'),
    flags: [],
    rootDirectory: FORWARDER_ROOT,
    // All programs, not the forwarder's files alone: those of a later version, which this unit may start, may have other names.
    files: [node, ...(interpreter === undefined ? [] : [interpreter]), PROGRAMS],
    libraries: libraryDirectories(),
  };
}

/** Makes {@link FORWARDER_ROOT}, without which no forwarder starts, with the directories that every service has. */
export function makeForwarderRoot(): void {
  for (const name of ['dev', 'proc', 'root', 'run', 'sys', 'tmp', 'var/tmp'])
    makeDirectory(`${FORWARDER_ROOT}/${name}`);
}

/** What the units of links are rendered with. @throws Error as {@link systemdVersion} */
export async function linkRenderer(): Promise<Renderer> {
  const { linkTemplates } = await import('./templates.js');
  return {
    installation: installation(),
    templates: linkTemplates,
    routing: routing(),
    systemd: await systemdVersion(),
  };
}

/** The template of a tunnel's unit. */
export async function tunnelTemplate(): Promise<Template> {
  return (await import('./templates.js')).tunnelTemplate;
}

/** The version of the program. */
export function version(): string {
  return packageJson.version;
}

/** The directories of the shared libraries that node itself has loaded, which is this process: what a new version of one keeps. */
function libraryDirectories(): string[] {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  const libraries = [...maps.matchAll(/^\S+ r-xp .*? (\/.*\.so(?:\.[\w.]+)*)$/gm)].map(([, path = '']) =>
    dirname(path),
  );
  return [...new Set(libraries)].sort();
}

/** The names that /etc/hosts gives a loopback address. */
function loopbackNames(): ReadonlySet<string> {
  const local = parseHosts(readIfExists('/etc/hosts') ?? '').filter(({ address }) =>
    isAlwaysPresent(address),
  );
  return new Set(local.flatMap(({ names }) => names));
}

function routing(): Routing {
  const directory = '/proc/sys/net/ipv4/conf';
  const routesLoopback = readdirSync(directory).some(
    (name) => readFileSync(`${directory}/${name}/route_localnet`, 'utf8').trim() === '1',
  );
  return { routesLoopback, loopbackNames: loopbackNames() };
}
