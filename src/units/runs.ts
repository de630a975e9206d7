import { type Link, type Place, runName, unitOfTail } from '../recipe/link.js';
import { runUnit } from './names.js';

/** A service of systemd's that a link starts, by its name. */
export interface ServicePlace {
  kind: 'unit';
  name: string;
}

/**
 * What a link starts: a container of its own (`docker-run`), one that may be stopped (`trigger docker-ns`), or a service of this
 * host's (`unit`).
 */
export interface Run {
  /** As {@link runName} has it. */
  name: string;
  unit: string;
  end: 'head' | 'tail';
  place: (Place & { kind: 'run' | 'container' }) | ServicePlace;
}

/** A run of a container. */
export type ContainerRun = Run & { place: Place & { kind: 'run' | 'container' } };

/** A run of a service. */
export type UnitRun = Run & { place: ServicePlace };

/** Whether a run is that of a container. */
export function isContainerRun<R extends Run>(run: R): run is R & ContainerRun {
  return run.place.kind !== 'unit';
}

/** Whether a run is that of a service. */
export function isUnitRun<R extends Run>(run: R): run is R & UnitRun {
  return run.place.kind === 'unit';
}

/** Whether a tail is there only once the link has started it. */
export function startsTail({ tail, trigger }: Pick<Link, 'tail' | 'trigger'>): boolean {
  if (unitOfTail({ ...(tail && { tail }) }) !== undefined) return true;
  return tail?.place.kind === 'run' || (trigger && tail?.place.kind === 'container');
}

/** What a link starts itself; what its parent and its children start is not among it. */
export function runsOf({ id, head, tail, trigger }: Link): Run[] {
  const runs: Run[] = [];
  const add = (end: Run['end'], place: Run['place']) => {
    const name = runName(id, end);
    runs.push({ name, unit: runUnit(name), end, place });
  };
  // The head of a child may be in the container of its parent.
  if (head.place.kind === 'run' && head.place.name === runName(id, 'head')) add('head', head.place);
  const place = tail?.place;
  const unit = unitOfTail({ ...(tail && { tail }) });
  if (unit !== undefined) add('tail', { kind: 'unit', name: unit });
  if (place?.kind === 'run' || (place?.kind === 'container' && trigger)) add('tail', place);
  return runs;
}

/** What a link starts for its tail. */
export function tailRunOf(link: Link): Run | undefined {
  return runsOf(link).find(({ end }) => end === 'tail');
}
