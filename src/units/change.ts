import { addressesOf } from '../recipe/link.js';
import { nameUnits, serviceUnit } from './names.js';
import type { PlannedLink } from './plan.js';
import type { UnitFile } from './render.js';
import { type Run, runsOf } from './runs.js';

/** A link with its children, the parent first, and its unit files. */
export interface LinkVersion {
  parts: PlannedLink[];
  files: UnitFile[];
}

/** What turns a link into another one of the same id, and nothing more. */
export interface LinkChange {
  /** Whether the two do not differ at all. */
  isEmpty: boolean;
  /** The ids of the links whose sockets have to be closed: they are gone, or listen otherwise. */
  close: string[];
  /** The containers that the link runs and that cannot stay. */
  runs: (Run & { link: string })[];
  /** The forwarders that need to be started again, and what looks names up for them. They keep their sessions. */
  restart: string[];
  /** The units that are there no longer. */
  gone: string[];
  /** The units that were not there before. */
  added: string[];
}

/** Compares two versions of a link. */
export function planChange(former: LinkVersion, next: LinkVersion): LinkChange {
  const texts = new Map(former.files.map(({ name, text }) => [name, text]));
  const names = new Set(next.files.map(({ name }) => name));
  const runs = former.parts.flatMap((part) => ownRuns(part).filter((run) => !hasRun(next.parts, run)));
  const inRuns = new Set(runs.map(({ name }) => name));
  const close = former.parts.filter((part) => {
    const { place } = part.link.head;
    if (place.kind === 'run' && inRuns.has(place.name)) return true;
    const other = next.parts.find(({ id }) => id === part.id);
    return other === undefined || listening(other) !== listening(part);
  });
  const services = new Set(next.parts.flatMap(({ id }) => [nameUnits(id).service, serviceUnit(id)]));
  return {
    isEmpty: former.files.length === next.files.length && next.files.every(isSame),
    close: close.map(({ id }) => id),
    runs,
    restart: next.files
      .filter((file) => services.has(file.name) && texts.has(file.name) && !isSame(file))
      .map(({ name }) => name),
    gone: [...texts.keys()].filter((name) => !names.has(name)),
    added: [...names].filter((name) => !texts.has(name)),
  };

  function isSame({ name, text }: UnitFile): boolean {
    return texts.get(name) === text;
  }
}

/** All that decides how systemd listens. What else a socket unit says takes effect without closing it. */
function listening({
  openedBy,
  owner,
  options: { socketMode, socketOwner },
  link: { head },
}: PlannedLink): string {
  const { place } = head;
  const where = place.kind === 'run' ? { kind: place.kind, name: place.name } : place;
  return JSON.stringify([
    openedBy,
    owner,
    socketMode,
    socketOwner,
    where,
    addressesOf({ ...head, place: { kind: 'host' } }).map(bare),
  ]);
}

/** An address alone: the first one of an end has more fields. */
function bare(address: object): object {
  const { protocol, host, port, path } = address as Record<string, unknown>;
  return { protocol, host, port, path };
}

function ownRuns(part: PlannedLink): (Run & { link: string })[] {
  return runsOf(part.link)
    .filter(({ place }) => place.kind === 'run')
    .map((run) => ({ ...run, link: part.id }));
}

/** Whether a run stays as it is: its container is made from the same arguments. */
function hasRun(parts: PlannedLink[], { name, place }: Run): boolean {
  return parts
    .flatMap(ownRuns)
    .some((run) => run.name === name && argumentsOf(run.place) === argumentsOf(place));
}

function argumentsOf(place: Run['place']): string | undefined {
  return place.kind === 'run' ? place.args : undefined;
}
