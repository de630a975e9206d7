import { readIfExists } from '../../system/files.js';
import type { LoadedUnit } from '../../systemd/systemd.js';
import { healthUnit, unhealthyFile } from '../../units/names.js';
import type { PlannedLink } from '../../units/plan.js';

/**
 * The ids of the links that lead to tails whose containers are not healthy, and which get no new client for that. Health is followed
 * only while a link is in use; what was known before is not told. `units` are as `loaded` of {@link Systemd} returns them.
 */
export function unhealthyTails(
  links: PlannedLink[],
  units: ReadonlyMap<string, Pick<LoadedUnit, 'active'>>,
): Set<string> {
  return new Set(
    links.flatMap(({ id, link: { tails } }) => {
      if (!tails || units.get(healthUnit(id))?.active !== 'active') return [];
      const names = readIfExists(unhealthyFile(id))?.split('\n') ?? [];
      return tails.filter(({ name }) => names.includes(name)).map((tail) => tail.id);
    }),
  );
}
