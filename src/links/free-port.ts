import type { IpProtocol, RecipePlace } from '../recipe/recipe.js';
import { localPorts, readSocketTables } from './socket-tables.js';

/** Above the kernel's default range for outgoing connections (net.ipv4.ip_local_port_range), whose ports come and go. */
const FIRST = 61_000;
const LAST = 65_535;

/**
 * Chooses a port of a place that no socket of the protocols uses, and that is not among `taken`.
 *
 * @throws PlaceAbsent; Error when every port from 61000 up is in use
 */
export async function freePort(
  place: RecipePlace,
  protocols: IpProtocol[],
  taken: ReadonlySet<number>,
): Promise<number> {
  // The container that the link runs does not exist yet.
  const used = place.kind === 'run' ? new Set() : localPorts(await readSocketTables(place, protocols));
  const start = FIRST + Math.floor(Math.random() * (LAST - FIRST + 1));
  for (let step = 0; step <= LAST - FIRST; step++) {
    const port = FIRST + ((start - FIRST + step) % (LAST - FIRST + 1));
    if (!used.has(port) && !taken.has(port)) return port;
  }
  throw new Error(`every port from ${FIRST} to ${LAST} is in use there; name one in the recipe`);
}
