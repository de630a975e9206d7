import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import type { RecipePlace } from '../recipe/recipe.js';
import { findNamespace } from './containers/namespace.js';

/** Above the kernel's default range for outgoing connections (net.ipv4.ip_local_port_range), whose ports come and go. */
const FIRST = 61_000;
const LAST = 65_535;

/**
 * Chooses a TCP port of a place that no socket uses, and that is not among `taken`.
 *
 * @throws PlaceAbsent; Error when every port from 61000 up is in use
 */
export async function freePort(place: RecipePlace, taken: ReadonlySet<number>): Promise<number> {
  const used = localPorts(await socketTables(place));
  const start = FIRST + Math.floor(Math.random() * (LAST - FIRST + 1));
  for (let step = 0; step <= LAST - FIRST; step++) {
    const port = FIRST + ((start - FIRST + step) % (LAST - FIRST + 1));
    if (!used.has(port) && !taken.has(port)) return port;
  }
  throw new Error(`every port from ${FIRST} to ${LAST} is in use there; name one in the recipe`);
}

/** The local ports in the text of /proc/net/tcp and tcp6 (proc(5)): their second column is ADDRESS:PORT in hex. */
export function localPorts(tables: string): Set<number> {
  const ports = new Set<number>();
  for (const [, port] of tables.matchAll(/^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) /gm)) {
    ports.add(Number.parseInt(port as string, 16));
  }
  return ports;
}

async function socketTables(place: RecipePlace): Promise<string> {
  const files = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];
  if (place.kind === 'host') return files.map((file) => readFileSync(file, 'utf8')).join('');
  if (place.kind === 'run') return '';
  const { path } = await findNamespace(place);
  return (await promisify(execFile)('nsenter', [`--net=${path}`, 'cat', ...files])).stdout;
}
