import { containerName } from '../../docker/runs.js';
import { describePlace } from '../../recipe/describe.js';
import type { PlaceId } from '../../recipe/link.js';
import { readLinks } from '../../state/links.js';
import type { PlannedLink } from '../../units/plan.js';
import { type ContainerRun, isContainerRun, isUnitRun, runsOf, type UnitRun } from '../../units/runs.js';

/** A container that a link starts, with the link. */
export type LinkRun = ContainerRun & { link: PlannedLink };

/** A service that a link starts, with the link. */
export type LinkUnit = UnitRun & { link: PlannedLink };

/** The containers that links start. */
export function runsIn(links: PlannedLink[]): LinkRun[] {
  return links.flatMap((planned) =>
    runsOf(planned.link)
      .filter(isContainerRun)
      .map((run) => ({ ...run, link: planned })),
  );
}

/** The services that links start. */
export function servicesIn(links: PlannedLink[]): LinkUnit[] {
  return links.flatMap((planned) =>
    runsOf(planned.link)
      .filter(isUnitRun)
      .map((run) => ({ ...run, link: planned })),
  );
}

/** The run of that name; undefined when no link runs a container by that name. */
export function findRun(name: string): LinkRun | undefined {
  return runsIn(readLinks().links).find((run) => run.name === name);
}

/** The run of that name; undefined when no link starts a service by that name. */
export function findUnitRun(name: string): LinkUnit | undefined {
  return servicesIn(readLinks().links).find((run) => run.name === name);
}

/** The engine's name for the container of a run. */
export function containerOf({ name, place }: ContainerRun): string {
  return place.kind === 'container' ? place.name : containerName(name, place.request);
}

/** A place for the journal, with the container of a run by its name. */
export function describeNamespaceOf(place: PlaceId): string {
  return place.kind === 'run' ? `container ${containerName(place.name)}` : describePlace(place);
}
