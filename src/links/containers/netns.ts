import { execFile } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { EngineDown, NoSuchContainer } from '../../docker/engine.js';
import { startHolder, stopHolder } from '../../docker/holder.js';
import { ForeignContainer } from '../../docker/own-container.js';
import { describePlace } from '../../recipe/describe.js';
import type { PlaceId } from '../../recipe/link.js';
import { withLock } from '../../state/lock.js';
import { makeDirectory } from '../../system/files.js';
import type { LogLine } from '../../systemd/journal-entry.js';
import { JobError, type Systemd } from '../../systemd/systemd.js';
import { NETNS_DIR, netnsUnit, placeOfInstance } from '../../units/names.js';
import { forgetEmptyNamespace, isEmptyNamespace, recordEmptyNamespace } from './empty-namespace.js';
import { passGate } from './gates.js';
import { findNamespace, identify, isNamespace, type Namespace, PlaceAbsent } from './namespace.js';
import { requireEngine } from './require-engine.js';
import { copyResolverFiles, removeResolverFiles } from './resolver-files.js';
import { describeNamespaceOf, findRun } from './runs.js';

const run = promisify(execFile);

/** The errors that say that a place has no namespace now. */
const MEANS_ABSENT = [PlaceAbsent, NoSuchContainer, ForeignContainer, EngineDown];

/** A container may end, and another begin, while its namespace is being mounted. */
const ATTEMPTS = 5;

/**
 * Mounts the namespace of an instance's place at its file below {@link NETNS_DIR}, for wormhole-netns@.service.
 *
 * A place that is absent gets a new, empty namespace. So links to it stay up: a client is told, after the usual timeout, that
 * nothing answers, and systemd does not give up on the units; when the place comes back, only its namespace has to be mounted.
 *
 * @param log takes one line for the journal, about what the links have joined
 * @throws Error when mounting fails, or the place changes faster than it can be mounted
 */
export async function mountNamespace(instance: string, log: LogLine): Promise<void> {
  const file = `${NETNS_DIR}/${instance}`;
  const place = placeOfInstance(instance);
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    await unmount(instance);
    makeDirectory(NETNS_DIR);
    writeFileSync(file, '');
    const found = place.kind === 'run' ? await holderNamespace(place) : await findOrAbsent(place);
    if (found instanceof Error) {
      await run('unshare', [`--net=${file}`, 'true']);
      recordEmptyNamespace(instance);
      const line = `${found.message}. Links to and from it wait, and join it as soon as it is there.`;
      return log(line, { event: 'unreachable' });
    }
    copyResolverFiles(place, found);
    if (await bind(found, file)) {
      const line = `${describeNamespaceOf(place)}: joined its network namespace, net:[${found.inode}]`;
      return log(line, { event: 'started' });
    }
  }
  throw new Error(
    `${describePlace(place)} changes too fast: tried ${ATTEMPTS} times to join its network namespace`,
  );
}

/**
 * Removes what {@link mountNamespace} mounted, and stops the container that held the namespace of one that a link runs. A
 * process that is still inside keeps the namespace, not the file.
 */
export async function unmountNamespace(instance: string): Promise<void> {
  await unmount(instance);
  const place = placeOfInstance(instance);
  if (place.kind !== 'run') return;
  try {
    await requireEngine();
    await stopHolder(place.name);
  } catch (error) {
    // An engine that stops has stopped its containers.
    if (!(error instanceof EngineDown)) throw error;
  }
}

/**
 * Makes systemd mount an instance's namespace again, unless the right one is mounted, or is being mounted at this moment.
 *
 * @returns whether it did
 */
export async function remountNamespace(instance: string, systemd: Systemd): Promise<boolean> {
  const unit = unitOf(instance);
  return await withLock('namespaces', async () => {
    if ((await systemd.state(unit)).active !== 'active' || (await isCurrent(instance))) return false;
    return await restartUnlessCanceled(unit, systemd);
  });
}

/**
 * As {@link remountNamespace}, for the unit that starts the container of the place: that one is ordered before the unit which mounts
 * the namespace, so it would wait for itself, and so would a command that holds the lock and waits for the same restart.
 */
export async function queueRemount(instance: string, systemd: Systemd): Promise<void> {
  const unit = unitOf(instance);
  if ((await systemd.state(unit)).active !== 'active' || (await isCurrent(instance))) return;
  await systemd.queueTryRestart(unit);
}

/** Whether a unit was restarted. It is not if a delete stops it at this moment. */
async function restartUnlessCanceled(unit: string, systemd: Systemd): Promise<boolean> {
  try {
    await systemd.tryRestart(unit);
    return true;
  } catch (error) {
    if (error instanceof JobError && error.result === 'canceled') return false;
    throw error;
  }
}

/** The unit that keeps an instance's namespace mounted. */
export function unitOf(instance: string): string {
  return netnsUnit(placeOfInstance(instance)) ?? '';
}

/** Whether the namespace that is mounted for an instance is the one that its place has now. */
export async function isCurrent(instance: string): Promise<boolean> {
  const file = `${NETNS_DIR}/${instance}`;
  const found = await findOrAbsent(placeOfInstance(instance));
  if (found instanceof Error) return isEmptyNamespace(instance);
  return !isEmptyNamespace(instance) && isNamespace(file) && identify(file).inode === found.inode;
}

async function unmount(instance: string): Promise<void> {
  const file = `${NETNS_DIR}/${instance}`;
  while (isNamespace(file)) await run('umount', ['--lazy', file]);
  rmSync(file, { force: true });
  removeResolverFiles(placeOfInstance(instance));
  forgetEmptyNamespace(instance);
}

/**
 * Starts the container that holds the namespace of one that a link runs. What keeps it from starting keeps that one from
 * starting too, which then fails with this error in the journal above it.
 */
async function holderNamespace(place: PlaceId & { name: string }): Promise<Namespace | Error> {
  const { name } = place;
  try {
    await passGate(name);
    const found = findRun(name);
    if (found?.place.kind !== 'run')
      return new PlaceAbsent(`no link runs a container with the name "${name}"`);
    await requireEngine();
    await startHolder(name, found.link.id, found.place.request);
    return await findNamespace(place);
  } catch (error) {
    return error as Error;
  }
}

/** The namespace of a place, or why it has none now. @throws every error that does not mean that it is absent */
async function findOrAbsent(place: PlaceId): Promise<Namespace | Error> {
  try {
    return await findNamespace(place);
  } catch (error) {
    if (MEANS_ABSENT.some((type) => error instanceof type)) return error as Error;
    throw error;
  }
}

/** Bind-mounts a namespace; false when it has ended meanwhile, or its process id has become that of another process. */
async function bind(namespace: Namespace, file: string): Promise<boolean> {
  try {
    await run('mount', ['--bind', namespace.path, file]);
    return identify(file).inode === namespace.inode;
  } catch (error) {
    if (!existsSync(namespace.path)) return false;
    throw error;
  }
}
