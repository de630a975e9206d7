import { existsSync } from 'node:fs';
import { containerState } from '../docker/container-state.js';
import { ownState } from '../docker/run-container.js';
import { localTailOf } from '../recipe/link.js';
import { readLinks } from '../state/links.js';
import { withLock } from '../state/lock.js';
import { unfinishedIds } from '../state/unfinished.js';
import type { LogLine } from '../systemd/journal-entry.js';
import { JobError, type Systemd } from '../systemd/systemd.js';
import { givenUpFile, netnsInstance, placeOfInstance, serviceUnit, socketUnit } from '../units/names.js';
import type { PlannedLink } from '../units/plan.js';
import { isGateClosed } from './containers/gates.js';
import { findNamespace } from './containers/namespace.js';
import { isCurrent, remountNamespace, unitOf } from './containers/netns.js';
import { engineRuns } from './containers/require-engine.js';
import { containerOf, describeNamespaceOf, type LinkRun, runsIn } from './containers/runs.js';
import { isStopped } from './is-stopped.js';

/** What a repair works with. */
export interface RepairContext {
  systemd: Systemd;
  /** What has been tried and is not tried again; the same set for all repairs of one process. */
  tried: Set<string>;
  /** Takes one line for the journal about each change. */
  log: LogLine;
  /** Begins work that may take long, unless work with the same key is under way. */
  begin: (key: string, work: () => Promise<void>) => void;
}

/**
 * Compares what links need with what exists, and makes systemd repair what differs.
 *
 * A namespace that has been replaced is mounted again, and the links follow it. A container that a link runs, and that has
 * ended by itself, is started again while a client is connected, and otherwise counts as asleep.
 *
 * @throws the first error of a comparison, once all others are done
 */
export async function repairLinks(context: RepairContext): Promise<void> {
  const links = settledLinks();
  const hasEngine = await engineRuns();
  const failures: unknown[] = [];
  const compare = (step: Promise<void>) => step.catch((error) => failures.push(error));
  for (const run of runsIn(links)) await compare(repairRun(run, hasEngine, context));
  for (const link of links) await compare(retryListening(link, context));
  const ends = links.flatMap(({ link }) => [link.head, localTailOf(link) ?? []].flat());
  for (const instance of new Set(ends.map(({ place }) => netnsInstance(place)))) {
    // Without its engine, a run is put to sleep as a whole.
    if (instance === undefined || (!hasEngine && placeOfInstance(instance).kind === 'run')) continue;
    if (!isExchanged(instance)) await compare(repairNamespace(instance, links, context));
  }
  if (failures.length > 0) throw failures[0];
}

async function repairNamespace(
  instance: string,
  links: PlannedLink[],
  context: RepairContext,
): Promise<void> {
  if (await isOutdated(instance, context.systemd))
    context.begin(instance, () => followNamespace(instance, links, context));
}

/** Whether a command exchanges the container of an instance's place at this moment: it starts what is to run itself. */
function isExchanged(instance: string): boolean {
  const place = placeOfInstance(instance);
  return place.kind === 'run' && isGateClosed(place.name);
}

async function repairRun(run: LinkRun, hasEngine: boolean, context: RepairContext): Promise<void> {
  if (isGateClosed(run.name)) return;
  const { systemd, begin } = context;
  const [unit, forwarder] = await Promise.all([
    systemd.state(run.unit),
    systemd.state(serviceUnit(run.link.id)),
  ]);
  if (unit.active === 'active') {
    if (!hasEngine) begin(run.unit, () => putToSleep(run, 'the engine that ran it has stopped', context));
    else if (!(await isRunning(run)))
      begin(run.unit, () => restart(run, forwarder.active === 'active', context));
  } else if (
    hasEngine &&
    isMissing(run, unit.active, forwarder.active) &&
    !(await isStopped(run.link, systemd))
  ) {
    begin(run.unit, () => startRun(run, systemd));
  }
}

/** Starts a container, unless a command has begun to change or delete its link, or does so meanwhile. */
async function startRun(run: LinkRun, systemd: Systemd): Promise<void> {
  const isSettled = settledLinks().some(({ id }) => id === run.link.id);
  if (!isSettled || isGateClosed(run.name)) return;
  try {
    await systemd.start(run.unit);
  } catch (error) {
    if (!(error instanceof JobError && error.result === 'canceled')) throw error;
  }
}

async function isRunning(run: LinkRun): Promise<boolean> {
  const container = containerOf(run);
  const isOwn = run.place.kind === 'run';
  const state = await (isOwn ? ownState(run.name, run.link.id, container) : containerState(container));
  return state?.running === true;
}

/** Whether a container should run that nothing starts any more: it ended just when a client connected, or with the engine. */
function isMissing({ name, link }: LinkRun, unit: string, forwarder: string): boolean {
  const wanted = forwarder === 'active' || (!link.link.trigger && link.openedBy === undefined);
  return wanted && ['inactive', 'failed'].includes(unit) && !existsSync(givenUpFile(name));
}

/** Restarts a container that has ended by itself, if a client is connected. */
async function restart(run: LinkRun, isConnected: boolean, context: RepairContext): Promise<void> {
  if (run.place.kind !== 'run' || !isConnected) return putToSleep(run, 'it has ended', context);
  const { systemd, log } = context;
  log(
    `link ${run.link.id}: container ${containerOf(run)} has ended while a client is connected: it is started again.`,
    { event: 'started', link: run.link.id },
  );
  try {
    await systemd.reload(run.unit);
  } catch (error) {
    if (!(error instanceof JobError)) throw error;
    await systemd.stop(run.unit);
  }
}

/** The links that no command is creating or deleting: such a command sees to what differs. */
function settledLinks(): PlannedLink[] {
  const unfinished = new Set(unfinishedIds());
  return readLinks().links.filter(({ id }) => !unfinished.has(id));
}

/** Brings the units of a run to the state in which they sleep, so that the next connection starts them from the beginning. */
async function putToSleep(run: LinkRun, why: string, { systemd, log }: RepairContext): Promise<void> {
  log(
    `link ${run.link.id}: container ${containerOf(run)} sleeps: ${why}. The next connection starts it again.`,
    { event: 'stopped', link: run.link.id },
  );
  // In a namespace whose container has ended, the forwarder is useless.
  await systemd.stop(serviceUnit(run.link.id));
  await systemd.stop(run.unit);
}

/** A unit that starts at this moment reads the current namespace itself; no link needs the namespace of one that is stopped. */
async function isOutdated(instance: string, systemd: Systemd): Promise<boolean> {
  const { active } = await systemd.state(unitOf(instance));
  return active === 'failed' || (active === 'active' && !(await isCurrent(instance)));
}

async function followNamespace(
  instance: string,
  links: PlannedLink[],
  context: RepairContext,
): Promise<void> {
  if (await remountNamespace(instance, context.systemd)) {
    context.log(
      `${describeNamespaceOf(placeOfInstance(instance))} has changed: its links have joined its new network namespace.`,
      { event: 'moved' },
    );
    return;
  }
  // The last attempt to mount it failed, and stopped the sockets in it.
  for (const link of links) {
    if (netnsInstance(link.link.head.place) === instance) await listen(link, context);
  }
}

/**
 * Makes a head listen that could not: the port was in use in the container that was there before. It is tried once in each
 * namespace, since nothing reports when a port there becomes free.
 */
async function retryListening(planned: PlannedLink, context: RepairContext): Promise<void> {
  const unit = socketUnit(planned.id);
  if ((await context.systemd.state(unit)).active !== 'failed') return;
  const namespace = await findNamespace(planned.link.head.place).catch(() => undefined);
  const key = `${unit} ${namespace?.inode}`;
  if (namespace === undefined || context.tried.has(key)) return;
  context.tried.add(key);
  context.begin(unit, () => listen(planned, context));
}

async function listen(planned: PlannedLink, { systemd, log }: RepairContext): Promise<void> {
  const { id, openedBy } = planned;
  if (openedBy !== undefined || (await systemd.state(socketUnit(id))).active === 'active') return;
  await withLock('links', async () => {
    if (!readLinks().links.some((other) => other.id === id)) return;
    // Not before: systemd would look for the files of units that are being deleted.
    if (await isStopped(planned, systemd)) return;
    try {
      await systemd.start(socketUnit(id));
    } catch (error) {
      if (!(error instanceof JobError)) throw error;
      log(
        `link ${id} cannot listen: see journalctl -u ${socketUnit(id)}. It is tried again when its container changes.`,
        { event: 'failed', link: id },
      );
    }
  });
}
