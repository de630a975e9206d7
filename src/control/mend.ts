import { existsSync } from 'node:fs';
import { containerState } from '../docker/container-state.js';
import { EngineDown } from '../docker/engine.js';
import { containerName } from '../docker/runs.js';
import { describePlace } from '../recipe/describe.js';
import { tailOf } from '../recipe/link.js';
import { JobError, type Systemd } from '../systemd/systemd.js';
import {
  givenUpFile,
  netnsInstance,
  netnsUnit,
  placeOfInstance,
  serviceUnit,
  socketUnit,
} from '../units/names.js';
import type { NamedLink } from '../units/plan.js';
import { requireEngine } from './engine.js';
import { containerOf, type LinkRun, readLinks, runsIn } from './links.js';
import { withLock } from './lock.js';
import { isCurrent, renewNamespace } from './netns.js';
import { unfinishedIds } from './unfinished.js';

/** Takes one line for the journal about each change. */
export type Say = (line: string) => void;

/** Begins some work that may take long, unless work of the same key is under way already. */
export type Begin = (key: string, work: () => Promise<void>) => void;

/**
 * Compares what links need with what there is, and has systemd mend what differs.
 *
 * A namespace that is another one now is mounted anew, which moves the links along. A container that a link runs, and
 * that has ended by itself, is started again while somebody is connected, and else taken for asleep.
 */
export async function mend(systemd: Systemd, say: Say, begin: Begin): Promise<void> {
  const links = settledLinks();
  const engine = await engineRuns();
  for (const run of runsIn(links)) {
    const [unit, forwarder] = await Promise.all([
      systemd.state(run.unit),
      systemd.state(serviceUnit(run.link.id)),
    ]);
    if (unit.active === 'active') {
      if (!engine) begin(run.unit, () => layDown(run, systemd, say, 'the engine that ran it is gone'));
      else if (!(await runs(run)))
        begin(run.unit, () => revive(run, forwarder.active === 'active', systemd, say));
    } else if (engine && isMissed(run, unit.active, forwarder.active)) {
      begin(run.unit, () => systemd.start(run.unit));
    }
  }
  const ends = links.flatMap(({ link }) => [link.head, tailOf(link)]);
  for (const instance of new Set(ends.map(({ place }) => netnsInstance(place)))) {
    // Without its engine, what a link runs is laid down as a whole.
    if (instance === undefined || (!engine && placeOfInstance(instance).kind === 'run')) continue;
    if (await differs(instance, systemd)) begin(instance, () => renew(instance, links, systemd, say));
  }
}

async function engineRuns(): Promise<boolean> {
  try {
    await requireEngine();
    return true;
  } catch (error) {
    if (error instanceof EngineDown) return false;
    throw error;
  }
}

async function runs(run: LinkRun): Promise<boolean> {
  return (await containerState(containerOf(run)))?.running === true;
}

/** Says whether a container should run that nothing starts any more: it went just when somebody came, or with the engine. */
function isMissed({ name, link }: LinkRun, unit: string, forwarder: string): boolean {
  const wanted = forwarder === 'active' || (!link.link.trigger && link.openedBy === undefined);
  return wanted && ['inactive', 'failed'].includes(unit) && !existsSync(givenUpFile(name));
}

/** A container has ended by itself. */
async function revive(run: LinkRun, connected: boolean, systemd: Systemd, say: Say): Promise<void> {
  if (run.place.kind !== 'run' || !connected) return layDown(run, systemd, say, 'it has ended');
  say(
    `link ${run.link.id}: container ${containerOf(run)} has ended while somebody is connected: it is started again.`,
  );
  try {
    await systemd.reload(run.unit);
  } catch (error) {
    if (!(error instanceof JobError)) throw error;
    await systemd.stop(run.unit);
  }
}

/** The links that nobody is making or taking away: of such a one, what differs is in good hands. */
function settledLinks(): NamedLink[] {
  const unfinished = new Set(unfinishedIds());
  return readLinks().links.filter(({ id }) => !unfinished.has(id));
}

/** Has the units of a run be as they are while it sleeps, so that the next connection starts them from the beginning. */
async function layDown(run: LinkRun, systemd: Systemd, say: Say, why: string): Promise<void> {
  say(
    `link ${run.link.id}: container ${containerOf(run)} sleeps: ${why}. The next connection starts it again.`,
  );
  // In the namespace of what is gone, the forwarder is of no use to anybody.
  await systemd.stop(serviceUnit(run.link.id));
  await systemd.stop(run.unit);
}

/** One that starts at this moment reads the truth itself, and one that is stopped has no link that wants it. */
async function differs(instance: string, systemd: Systemd): Promise<boolean> {
  const { active } = await systemd.state(netnsUnit(placeOfInstance(instance)) as string);
  return active === 'failed' || (active === 'active' && !(await isCurrent(instance)));
}

async function renew(instance: string, links: NamedLink[], systemd: Systemd, say: Say): Promise<void> {
  const place = placeOfInstance(instance);
  const what = place.kind === 'run' ? `container ${containerName(place.name ?? '')}` : describePlace(place);
  if (await renewNamespace(instance, systemd)) say(`${what} has changed: its links have moved along.`);
  // systemd restarts the sockets with the namespace, except those that could not start the last time.
  for (const { id, openedBy, link } of links) {
    if (openedBy !== undefined || netnsInstance(link.head.place) !== instance) continue;
    if ((await systemd.state(socketUnit(id))).active === 'active') continue;
    await withLock('links', async () => {
      if (readLinks().links.some((other) => other.id === id)) await systemd.start(socketUnit(id));
    });
  }
}
