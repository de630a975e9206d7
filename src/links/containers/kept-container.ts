import type { Started } from '../../docker/run-container.js';
import { readKeptContainer, recordKeptContainer } from '../../state/kept-containers.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import { describeTime } from '../../text/time.js';
import type { PlannedLink } from '../../units/plan.js';
import { type LinkRun, runsIn } from './runs.js';

/** Where it is told that something has happened which somebody should know. */
export interface JournalLines {
  log: LogLine;
  /** As `log`, with the priority of an error. */
  warn: LogLine;
}

/**
 * Records which container a run has, and says loudly in the journal when that is not the one that was kept with its data.
 * A record that cannot be written does not keep the container from its work.
 */
export function noteContainer(run: LinkRun, started: Started, journal: JournalLines): void {
  const { id: link, root } = run.link;
  try {
    const known = readKeptContainer(run.name);
    if (known?.id === started.id) return;
    if (known !== undefined) journal.warn(describeLoss(run, started), { event: 'data-lost' });
    else for (const line of describeKept(link, started)) journal.log(line, { event: 'started' });
    recordKeptContainer(run.name, { id: started.id, ...(known && { lostAt: Date.now() }) });
  } catch (error) {
    journal.warn(
      `link ${link}: container "${started.container}" cannot be recorded (${(error as Error).message}): if it is removed, nobody is told; wormhole upgrade ${root} writes the units again`,
      { event: 'failed' },
    );
  }
}

/** What `wormhole list` tells of containers of a link that somebody has removed; '' when there is nothing to tell. */
export function describeLosses(planned: PlannedLink): string {
  const losses = runsIn([planned]).flatMap((run) => {
    const lostAt = readKeptContainer(run.name)?.lostAt;
    return lostAt === undefined ? [] : `its container was removed and created again ${describeTime(lostAt)}`;
  });
  if (losses.length === 0) return '';
  return `${losses.join(', ')}: what was not in a volume is lost; wormhole start ${planned.root} acknowledges it`;
}

function describeLoss(
  { link: { id, root } }: LinkRun,
  { container, volumes = [], warning }: Started,
): string {
  const why =
    warning === undefined
      ? `somebody has removed or renamed it; docker system prune removes containers that are stopped`
      : warning;
  const [kept, empty] = [true, false].map((isKept) =>
    volumes.filter((volume) => volume.isKept === isKept).map(({ name, path }) => `"${name}" at ${path}`),
  );
  const still = kept?.length ? `volume ${kept.join(', ')} is kept with its data` : '';
  const gone = empty?.length ? `volume ${empty.join(', ')} was gone too, and is empty` : '';
  const rest = [still, gone].filter(Boolean).join('; ') || 'volumes that docker-run names are not touched';
  return `link ${id}: DATA LOST: container "${container}", which was kept for its data, is gone, and a new one has taken its place (${why}). What it had written outside volumes is lost; ${rest}. wormhole list shows this until you run: wormhole start ${root}`;
}

function describeKept(link: string, { container, volumes = [] }: Started): string[] {
  return volumes
    .filter(({ isKept }) => isKept)
    .map(
      ({ name, path }) =>
        `link ${link}: container "${container}" has volume "${name}" at ${path}, with the data of an earlier link or container`,
    );
}
