import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { EngineDown, NoSuchContainer } from '../docker/engine.js';
import { startHolder, stopHolder } from '../docker/holder.js';
import { parseRunArguments } from '../docker/run-arguments.js';
import { containerName } from '../docker/runs.js';
import { describePlace } from '../recipe/describe.js';
import type { Systemd } from '../systemd/systemd.js';
import { NETNS_DIR, netnsUnit, placeOfInstance } from '../units/names.js';
import { requireEngine } from './engine.js';
import { readLinks, runsIn } from './links.js';
import { RUN_DIR, withLock } from './lock.js';
import { findNamespace, identify, isNamespace, type Namespace, PlaceAbsent } from './namespace.js';

const run = promisify(execFile);

/** Holds an empty file for each instance whose mount is a void: see {@link mountNamespace}. */
const VOID_DIR = `${RUN_DIR}/void`;

/** A container may end, and another begin, while its namespace is being mounted. */
const ATTEMPTS = 5;

/**
 * Mounts the namespace of an instance's place at its file below {@link NETNS_DIR}: what wormhole-netns@.service does.
 *
 * A place that is absent gets an empty namespace of its own, a void. So links to it stay up: a client is told, after
 * the usual patience, that nothing answers, instead of systemd giving up on the units; and nothing is left to do
 * when the place comes back but to mount it.
 *
 * @returns one line for the journal
 * @throws Error when mounting fails, or the place changes faster than it can be mounted
 */
export async function mountNamespace(instance: string): Promise<string> {
  const file = `${NETNS_DIR}/${instance}`;
  const place = placeOfInstance(instance);
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    await unmount(instance);
    mkdirSync(NETNS_DIR, { recursive: true, mode: 0o755 });
    writeFileSync(file, '');
    const found = place.kind === 'run' ? await makeHolder(place.name ?? '') : await present(instance);
    if (found instanceof Error) {
      await run('unshare', [`--net=${file}`, 'true']);
      mkdirSync(VOID_DIR, { recursive: true, mode: 0o755 });
      writeFileSync(`${VOID_DIR}/${instance}`, '');
      return `${found.message}. Links to and from it wait, and are joined to it as soon as it is there.`;
    }
    if (!(await bind(found, file))) continue;
    const what = place.kind === 'run' ? `container ${containerName(place.name ?? '')}` : describePlace(place);
    return `${what}: joined its network namespace, net:[${found.inode}]`;
  }
  throw new Error(
    `${describePlace(place)} changes too fast: tried ${ATTEMPTS} times to join its network namespace`,
  );
}

/**
 * Takes away what {@link mountNamespace} made, and stops the container that held the namespace of one that a link runs.
 * A process that is still inside keeps the namespace, not the file.
 */
export async function unmountNamespace(instance: string): Promise<void> {
  await unmount(instance);
  const place = placeOfInstance(instance);
  if (place.kind !== 'run') return;
  try {
    await requireEngine();
    await stopHolder(place.name ?? '');
  } catch (error) {
    // With the engine go its containers.
    if (!(error instanceof EngineDown)) throw error;
  }
}

/** Has systemd mount an instance's namespace anew, unless it is the right one, or is being mounted at this moment. */
export async function renewNamespace(instance: string, systemd: Systemd): Promise<boolean> {
  const unit = netnsUnit(placeOfInstance(instance)) as string;
  return await withLock('namespaces', async () => {
    if ((await systemd.state(unit)).active !== 'active' || (await isCurrent(instance))) return false;
    await systemd.tryRestart(unit);
    return true;
  });
}

async function unmount(instance: string): Promise<void> {
  const file = `${NETNS_DIR}/${instance}`;
  while (isNamespace(file)) await run('umount', ['--lazy', file]);
  rmSync(file, { force: true });
  rmSync(`${VOID_DIR}/${instance}`, { force: true });
}

/** Says whether an instance's place was absent when it was mounted; the host's own namespace, which has none, never is. */
export function isVoid(instance: string | undefined): boolean {
  return instance !== undefined && existsSync(`${VOID_DIR}/${instance}`);
}

/** Says whether what is mounted for an instance is still the truth. */
export async function isCurrent(instance: string): Promise<boolean> {
  const file = `${NETNS_DIR}/${instance}`;
  const found = await present(instance);
  if (found instanceof Error) return isVoid(instance);
  return !isVoid(instance) && isNamespace(file) && identify(file).inode === found.inode;
}

/**
 * Starts the container that holds the namespace of one that a link runs. What keeps it from starting will keep that
 * from starting too, which then fails with this in the journal above it.
 */
async function makeHolder(name: string): Promise<Namespace | Error> {
  try {
    const run = runsIn(readLinks().links).find((candidate) => candidate.name === name);
    if (run?.place.kind !== 'run') return new PlaceAbsent(`no link runs anything of the name "${name}"`);
    await requireEngine();
    await startHolder(name, run.link.id, parseRunArguments(run.place.args));
    return await findNamespace(run.place);
  } catch (error) {
    return error as Error;
  }
}

/** The instance's namespace, or why there is none now. @throws what does not mean that it is absent */
async function present(instance: string): Promise<Namespace | Error> {
  try {
    return await findNamespace(placeOfInstance(instance));
  } catch (error) {
    if (error instanceof PlaceAbsent || error instanceof NoSuchContainer || error instanceof EngineDown)
      return error;
    throw error;
  }
}

/** Bind-mounts a namespace; false when it ended meanwhile, or its process id has become another's. */
async function bind(namespace: Namespace, file: string): Promise<boolean> {
  try {
    await run('mount', ['--bind', namespace.path, file]);
    return identify(file).inode === namespace.inode;
  } catch (error) {
    if (!existsSync(namespace.path)) return false;
    throw error;
  }
}
