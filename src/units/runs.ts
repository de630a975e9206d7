import type { End, Link, Place } from '../recipe/link.js';
import { runUnit } from './names.js';

/**
 * Names every container that a link with ids runs, so that each can be told from all others: a tail's after the link,
 * a head's with `-head` behind that. The head of a child that is in the container of its parent's tail shares its name.
 *
 * @returns a new link; the given one stays as it is
 */
export function nameRuns(link: Link, parentTail?: End): Link {
  const named: Link = { ...link, head: nameEnd(link.head, `${link.id}-head`) };
  const shared =
    parentTail?.place.kind === 'run' && link.head.place.kind === 'run' ? parentTail.place : undefined;
  if (shared && link.head.place.kind === 'run' && shared.args === link.head.place.args) {
    named.head = { ...link.head, place: shared };
  }
  if (link.tail) named.tail = nameEnd(link.tail, `${link.id}`);
  if (link.child && link.child.peer === undefined) {
    named.child = { ...link.child, link: nameRuns(link.child.link, named.tail) };
  }
  return named;
}

function nameEnd(end: End, name: string): End {
  return end.place.kind === 'run' ? { ...end, place: { ...end.place, name } } : end;
}

/** A container that a link starts: one of its own (`docker-run`), or one that may be stopped (`trigger docker-ns`). */
export interface Run {
  /** The instance of everything that belongs to it: of units, files and containers. */
  name: string;
  unit: string;
  end: 'head' | 'tail';
  place: Place;
}

/** The containers that a link starts itself; those of its parent and its children are not among them. */
export function runsOf({ id, link }: { id: string; link: Link }): Run[] {
  const runs: Run[] = [];
  const add = (end: 'head' | 'tail', name: string, place: Place) =>
    runs.push({ name, unit: runUnit(name), end, place });
  if (link.head.place.kind === 'run' && link.head.place.name === `${id}-head`)
    add('head', `${id}-head`, link.head.place);
  const place = link.tail?.place;
  if (place?.kind === 'run' || (place?.kind === 'container' && link.trigger)) add('tail', id, place);
  return runs;
}
