import { type Link, type Place, runName } from '../recipe/link.js';
import { runUnit } from './names.js';

/** A container that a link starts: one of its own (`docker-run`), or one that may be stopped (`trigger docker-ns`). */
export interface Run {
  /** As {@link runName} has it. */
  name: string;
  unit: string;
  end: 'head' | 'tail';
  place: Place & { kind: 'run' | 'container' };
}

/** The containers that a link starts itself; those of its parent and its children are not among them. */
export function runsOf({ id, head, tail, trigger }: Link): Run[] {
  const runs: Run[] = [];
  const add = (end: Run['end'], place: Run['place']) => {
    const name = runName(id, end);
    runs.push({ name, unit: runUnit(name), end, place });
  };
  // The head of a child may be in the container of its parent.
  if (head.place.kind === 'run' && head.place.name === runName(id, 'head')) add('head', head.place);
  const place = tail?.place;
  if (place?.kind === 'run' || (place?.kind === 'container' && trigger)) add('tail', place);
  return runs;
}
