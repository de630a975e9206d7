import type { Systemd } from '../../systemd/systemd.js';

/** What a unit says of those that need it (org.freedesktop.systemd1(5)). */
const NEEDED_BY = ['RequiredBy', 'RequisiteOf', 'WantedBy', 'BoundBy', 'UpheldBy'];

/**
 * Stops the unit of a namespace that only removed units needed. Its StopWhenUnneeded= does so too, but systemd 252 may miss the
 * moment: while the last unit that needs it has a job in the queue, that unit counts, and nothing is checked again when it is unloaded.
 *
 * @param removed the units whose files have been removed
 * @throws JobError
 */
export async function stopUnneededNamespace(
  unit: string,
  removed: string[],
  systemd: Systemd,
): Promise<void> {
  const { active } = await systemd.state(unit);
  if (active === 'inactive') return;
  const properties = await systemd.properties(unit, 'Unit');
  const neededBy = NEEDED_BY.flatMap((name) => (properties[name] as string[] | undefined) ?? []);
  if (!neededBy.every((other) => removed.includes(other))) return;
  await systemd.stop(unit);
  // It has failed if it was stopped while it was being started.
  await systemd.resetFailed(unit);
}

/** Stops the units of all namespaces that no unit needs. @throws JobError */
export async function stopUnneededNamespaces(systemd: Systemd): Promise<void> {
  for (const [unit, { active }] of await systemd.loaded(['wormhole-netns@*']))
    if (active !== 'inactive') await stopUnneededNamespace(unit, [], systemd);
}
