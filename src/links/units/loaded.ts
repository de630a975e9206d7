import type { LoadedUnit, Systemd } from '../../systemd/systemd.js';

/** Above this many units, systemd is asked for all of ours: it compares each pattern with each unit. */
const MANY = 50;

/** What systemd has in memory of these units, by name. */
export async function loadedOf(units: string[], systemd: Systemd): Promise<Map<string, LoadedUnit>> {
  const loaded = await systemd.loaded(units.length > MANY ? ['wormhole-*'] : units);
  const wanted = new Set(units);
  return new Map([...loaded].filter(([name]) => wanted.has(name)));
}
