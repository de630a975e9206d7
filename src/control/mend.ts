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
import { findNamespace } from './namespace.js';
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
 *
 * @param tried notes of what is tried once only; the same set for all calls of one process
 */
export async function mend(systemd: Systemd, tried: Set<string>, say: Say, begin: Begin): Promise<void> {
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
  for (const link of links) await reopen(link, tried, systemd, say, begin);
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
  if (await renewNamespace(instance, systemd)) {
    say(`${what} has changed: its links have moved along.`);
    return;
  }
  // It could not be mounted the last time, and took the sockets in it along.
  for (const link of links) {
    if (netnsInstance(link.link.head.place) === instance) await open(link, systemd, say);
  }
}

/**
 * Has a head listen that could not: the port was in use in the container that was there before. Tried once in each
 * namespace, since what happens there is nothing that anybody is told of.
 */
async function reopen(
  named: NamedLink,
  tried: Set<string>,
  systemd: Systemd,
  say: Say,
  begin: Begin,
): Promise<void> {
  const unit = socketUnit(named.id);
  if ((await systemd.state(unit)).active !== 'failed') return;
  const namespace = await findNamespace(named.link.head.place).catch(() => undefined);
  const key = `${unit} ${namespace?.inode}`;
  if (namespace === undefined || tried.has(key)) return;
  tried.add(key);
  begin(unit, () => open(named, systemd, say));
}

async function open({ id, openedBy }: NamedLink, systemd: Systemd, say: Say): Promise<void> {
  if (openedBy !== undefined || (await systemd.state(socketUnit(id))).active === 'active') return;
  await withLock('links', async () => {
    if (!readLinks().links.some((other) => other.id === id)) return;
    try {
      await systemd.start(socketUnit(id));
    } catch (error) {
      if (!(error instanceof JobError)) throw error;
      say(
        `link ${id} cannot listen: see journalctl -u ${socketUnit(id)}. It is tried again when its container changes.`,
      );
    }
  });
}
